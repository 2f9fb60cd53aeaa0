/* The official gRPC of JavaScript against the admin service, by nothing but the .proto files:  client.js ADDRESS TOPIC
 *
 * Unary calls, statuses, deadlines, a watch that is cancelled and one that times out, health, 1,000 calls side by side. */
'use strict'

const path = require('path')
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')

const PROTO = path.join(__dirname, '../../../../proto')
const CALL_MS = 60000
const PARALLEL = 1000
const [address, topic] = process.argv.slice(2)

function load(file) {
  return grpc.loadPackageDefinition(loader.loadSync(path.join(PROTO, file), { keepCase: true, longs: Number, defaults: true, enums: String }))
}

function check(condition, what) {
  console.log(`${condition ? 'ok' : 'FAIL'} ${what}`)
}

function unary(client, name, request, deadlineMs = CALL_MS) {
  return new Promise((resolve, reject) => {
    client[name](request, { deadline: Date.now() + deadlineMs }, (error, answer) => (error ? reject(error) : resolve(answer)))
  })
}

async function refusal(promise) {
  try {
    await promise
    return { code: grpc.status.OK, details: '' }
  } catch (error) {
    return error
  }
}

/* Messages of a stream until `done` says that they are enough, then its end after a cancel; or its own end. */
function follow(stream, done, on = () => {}) {
  return new Promise(resolve => {
    const seen = []
    stream.on('data', message => {
      seen.push(message)
      on(message)
      if (done(message)) {
        stream.cancel()
      }
    })
    stream.on('error', error => resolve({ seen, code: error.code }))
    stream.on('end', () => resolve({ seen, code: grpc.status.OK }))
  })
}

async function topics(admin) {
  const status = await unary(admin, 'ClusterStatus', {})
  check(status.is_serving && status.brokers.length === 1, `the cluster's status: ${JSON.stringify(status.brokers)}`)
  const watched = await follow(admin.Watch({}), event => event.kind === 'TOPIC_CREATED', event => {
    if (event.kind === 'BEGUN') {
      unary(admin, 'CreateTopic', { name: topic, partitions: 3, configs: [{ name: 'retention.ms', value: '86400000' }] })
        .catch(error => check(false, `a topic is made: ${error.message}`))
    }
  })
  const kinds = watched.seen.map(event => event.kind)
  check(kinds[0] === 'BEGUN' && kinds.at(-1) === 'TOPIC_CREATED', `a watch tells of a new topic: ${kinds}`)
  check(watched.code === grpc.status.CANCELLED, `and ends when it is cancelled: ${watched.code}`)
  const told = await unary(admin, 'DescribeTopic', { name: topic })
  check(told.partitions.length === 3 && told.configs[0].value === '86400000', `a topic is described: ${JSON.stringify(told.topic)}`)
}

async function statuses(admin) {
  let error = await refusal(unary(admin, 'CreateTopic', { name: topic }))
  check(error.code === grpc.status.ALREADY_EXISTS && error.details.includes(topic), `twice is refused: ${error.message}`)
  error = await refusal(unary(admin, 'DescribeTopic', { name: 'nowhere' }))
  check(error.code === grpc.status.NOT_FOUND && error.details.includes('nowhere'), `what is not there is not found: ${error.message}`)
  error = await refusal(unary(admin, 'CreateTopic', { name: 'ü/' }))
  check(error.code === grpc.status.INVALID_ARGUMENT, `a bad name is refused: ${error.message}`)
  error = await refusal(unary(admin, 'ListTopics', { prefix: 'x'.repeat(5 << 20) }))
  check(error.code === grpc.status.RESOURCE_EXHAUSTED, `a request over the limit is refused: ${error.message}`)
  const late = await follow(admin.Watch({}, { deadline: Date.now() + 300 }), () => false)
  check(late.code === grpc.status.DEADLINE_EXCEEDED && late.seen.length === 1, `a watch ends at its deadline: ${late.code}`)
}

async function health() {
  const client = new (load('grpc_health.proto').grpc.health.v1.Health)(address, grpc.credentials.createInsecure())
  const answer = await unary(client, 'Check', { service: 'balsa.admin.v1.Admin' })
  check(answer.status === 'SERVING', `the service is healthy: ${answer.status}`)
  const watched = await follow(client.Watch({ service: '' }), () => true)
  check(watched.seen[0].status === 'SERVING' && watched.code === grpc.status.CANCELLED, 'a watch of the health is told at once')
  client.close()
}

async function parallel(admin) {
  const calls = Array.from({ length: PARALLEL }, () => unary(admin, 'DescribeTopic', { name: topic }))
  const answers = await Promise.all(calls)
  check(answers.every(answer => answer.partitions.length === 3), '1,000 parallel calls are answered')
  const streams = Array.from({ length: 100 }, () => follow(admin.Watch({}), event => event.kind === 'BEGUN'))
  const ends = await Promise.all(streams)
  check(ends.every(end => end.code === grpc.status.CANCELLED), '100 watches begin and are cancelled')
}

async function main() {
  const admin = new (load('admin.proto').balsa.admin.v1.Admin)(address, grpc.credentials.createInsecure())
  await topics(admin)
  await statuses(admin)
  await health()
  await parallel(admin)
  await unary(admin, 'DeleteTopic', { name: topic })
  check((await refusal(unary(admin, 'DescribeTopic', { name: topic }))).code === grpc.status.NOT_FOUND, 'a topic is deleted')
  admin.close()
}

main().catch(error => {
  check(false, error.stack)
  process.exitCode = 1
})
