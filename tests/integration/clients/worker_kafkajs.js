/* kafkajs as producer, consumer and admin client; speaks as the Python workers do (records.py).
 *
 * kafkajs has no consumer without a group, so its cluster, fetch requests and decoders are driven one level below its consumer. */
'use strict'

const crypto = require('crypto')
const fs = require('fs')
const path = require('path')
const modules = process.env.NODE_PATH
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const Cluster = require(path.join(modules, 'kafkajs/src/cluster'))
const socketFactory = require(path.join(modules, 'kafkajs/src/network/socketFactory'))
const { createLogger } = require(path.join(modules, 'kafkajs/src/loggers'))
const LoggerConsole = require(path.join(modules, 'kafkajs/src/loggers/console'))
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')

const CODECS = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }
const BROKERS = Number(process.env.BROKERS || '1')
const DECOMPRESSED_MAX = 16 << 20

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrameSync(encoder.buffer),
  decompress: async buffer => lz4.decompressFrameSync(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer, { defaultHeapSize: DECOMPRESSED_MAX })),
})

function check(condition, what) {
  console.log(`${condition ? 'ok' : 'FAIL'} ${what}`)
}

async function expectError(promise, type, what) {
  try {
    check(false, `${what}: no error but ${JSON.stringify(await promise)}`)
  } catch (error) {
    const text = `${error.type || ''} ${error.message} ${(error.errors || []).map(e => `${e.type} ${e.message}`).join(' ')}`
    check(text.toLowerCase().includes(type.toLowerCase()), `${what}: ${text.slice(0, 200)}`)
  }
}

function kafka(broker, retries = 5) {
  return new Kafka({ clientId: 'balsa', brokers: broker.split(','), logLevel: logLevel.NOTHING, connectionTimeout: 20000, requestTimeout: 60000, retry: { retries } })
}

/* ---- frames and digests: see records.py ---- */

function* readRecords(name) {
  const file = fs.openSync(name, 'r')
  const head = Buffer.alloc(8)
  while (fs.readSync(file, head, 0, 8) === 8) {
    const data = Buffer.alloc(head.readUInt32BE(0) - 4)
    fs.readSync(file, data, 0, data.length)
    let at = 8
    const take = () => {
      const size = data.readInt32BE(at)
      at += 4
      if (size < 0) {
        return null
      }
      at += size
      return data.subarray(at - size, at)
    }
    const key = take()
    const value = take()
    const count = data.readUInt32BE(at)
    at += 4
    const headers = {}
    for (let i = 0; i < count; i++) {
      const headerName = take().toString()
      const headerValue = take()
      headers[headerName] = headers[headerName] === undefined ? headerValue : [].concat(headers[headerName], [headerValue])
    }
    yield { partition: head.readUInt32BE(4), timestamp: data.readBigInt64BE(0).toString(), key, value, headers }
  }
  fs.closeSync(file)
}

function field(hash, data) {
  const size = Buffer.alloc(4)
  if (data === null || data === undefined) {
    size.writeInt32BE(-1)
    hash.update(size)
  } else {
    size.writeInt32BE(data.length)
    hash.update(size)
    hash.update(data)
  }
}

function entry(message) {
  const out = Buffer.alloc(32)
  out.writeBigInt64BE(BigInt(message.offset), 0)
  out.writeBigInt64BE(BigInt(message.timestamp), 8)
  const keyValue = crypto.createHash('sha1')
  field(keyValue, message.key)
  field(keyValue, message.value)
  const whole = crypto.createHash('sha1')
  whole.update(out.subarray(8, 16))
  field(whole, message.key)
  field(whole, message.value)
  const headers = Object.entries(message.headers).flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map(v => [name, v]))
  const count = Buffer.alloc(4)
  count.writeUInt32BE(headers.length)
  whole.update(count)
  for (const [name, value] of headers) {
    field(whole, Buffer.from(name))
    field(whole, value)
  }
  whole.digest().copy(out, 16, 0, 8)
  keyValue.digest().copy(out, 24, 0, 8)
  return out
}

/* ---- commands ---- */

async function version() {
  console.log(`note version kafkajs ${require('kafkajs/package.json').version}`)
}

async function produce(broker, topic, file, codec, acks, idempotent) {
  const producer = kafka(broker).producer({ idempotent: idempotent === '1', maxInFlightRequests: 1, createPartitioner: () => ({ message }) => message.partition })
  await producer.connect()
  const nextOffset = {}
  const errors = []
  let sent = 0
  let batch = []
  let size = 0
  const send = async () => {
    if (batch.length === 0) {
      return
    }
    const counts = {}
    batch.forEach(m => (counts[m.partition] = (counts[m.partition] || 0) + 1))
    const all = batch.length
    const results = await producer.send({ topic, acks: acks === 'all' ? -1 : Number(acks), compression: CODECS[codec], messages: batch })
    for (const r of results || []) {
      const due = nextOffset[r.partition] || 0
      if (acks !== '0' && Number(r.baseOffset) !== due) {
        errors.push(`partition ${r.partition}: acknowledged at ${r.baseOffset} instead of ${due}`)
      }
      nextOffset[r.partition] = due + counts[r.partition]
    }
    /* kafkajs 2.2.4 forgets a partition whose leader moved to a broker that had answered for others: its records were not sent. */
    const answered = new Set((results || []).map(r => r.partition))
    batch = acks === '0' ? [] : batch.filter(m => !answered.has(m.partition))
    sent += all - batch.length
    size = 0
    await send()
  }
  for (const record of readRecords(file)) {
    const recordSize = 200 + (record.key ? record.key.length : 0) + (record.value ? record.value.length : 0)
    if (size + recordSize > 1000000 || batch.length >= 5000) {
      await send()
    }
    batch.push(record)
    size += recordSize
  }
  await send()
  await producer.disconnect()
  check(errors.length === 0, `${sent} sent and acknowledged, each where it belongs ${errors.slice(0, 3)}`)
}

async function consume(broker, out, ...topics) {
  const cluster = new Cluster({
    logger: createLogger({ level: logLevel.ERROR, logCreator: LoggerConsole }),
    socketFactory: socketFactory(), brokers: broker.split(','), clientId: 'balsa', connectionTimeout: 20000, requestTimeout: 60000,
    enforceRequestTimeout: true, metadataMaxAge: 300000, allowAutoTopicCreation: false, isolationLevel: 1,
  })
  await cluster.connect()
  for (const topic of topics) {
    await cluster.addTargetTopic(topic)
  }
  const places = topics.flatMap(topic => cluster.findTopicPartitionMetadata(topic).map(p => ({ topic, partition: p.partitionId, offset: 0n })))
  const ends = {}
  for (const t of await cluster.fetchTopicsOffset(topics.map(topic => ({
    topic, partitions: places.filter(p => p.topic === topic).map(p => ({ partition: p.partition })), fromBeginning: false,
  })))) {
    t.partitions.forEach(p => (ends[`${t.topic}-${p.partition}`] = BigInt(p.offset)))
  }
  const files = {}
  let left = places.filter(p => p.offset < ends[`${p.topic}-${p.partition}`])
  let silent = 0
  while (left.length > 0 && silent < 30) {
    const leaderOf = p => Object.keys(cluster.findLeaderForPartitions(p.topic, [p.partition]))[0]
    const fetch = async () => {
      const leader = leaderOf(left[0])
      const here = left.filter(p => leaderOf(p) === leader)
      const brokerOfLeader = await cluster.findBroker({ nodeId: leader })
      return brokerOfLeader.fetch({
        maxWaitTime: 1000, minBytes: 1, maxBytes: 10 << 20, isolationLevel: 1,
        topics: topics.map(topic => ({
          topic,
          partitions: here.filter(p => p.topic === topic).map(p => ({ partition: p.partition, fetchOffset: p.offset.toString(), maxBytes: 1 << 20 })),
        })).filter(t => t.partitions.length > 0),
      })
    }
    /* A leader that is gone is asked for anew, as kafkajs' own consumer does. */
    const { responses } = await fetch().catch(async error => {
      console.log(`note ${error.message}`)
      await new Promise(resolve => setTimeout(resolve, 500))
      await cluster.refreshMetadata().catch(again => console.log(`note ${again.message}`))
      return { responses: [] }
    })
    silent++
    for (const { topicName, partitions } of responses) {
      for (const { partition, messages } of partitions) {
        const place = left.find(p => p.topic === topicName && p.partition === partition)
        const name = `${topicName}-${partition}`
        const entries = []
        for (const message of messages) {
          if (BigInt(message.offset) >= place.offset && !message.isControlRecord) {
            entries.push(entry(message))
            place.offset = BigInt(message.offset) + 1n
            silent = 0
          }
        }
        files[name] = files[name] || fs.openSync(path.join(out, name), 'w')
        fs.writeSync(files[name], Buffer.concat(entries))
      }
    }
    left = left.filter(p => p.offset < ends[`${p.topic}-${p.partition}`])
  }
  Object.values(files).forEach(file => fs.closeSync(file))
  await cluster.disconnect()
  check(left.length === 0, `${places.length} partitions read to their end`)
}

async function offsets(broker, topic, ...times) {
  const admin = kafka(broker).admin()
  await admin.connect()
  const answer = { earliest: {}, latest: {} }
  for (const p of await admin.fetchTopicOffsets(topic)) {
    answer.earliest[p.partition] = Number(p.low)
    answer.latest[p.partition] = Number(p.high)
  }
  for (const time of times) {
    answer[time] = {}
    for (const p of await admin.fetchTopicOffsetsByTimestamp(topic, Number(time))) {
      answer[time][p.partition] = Number(p.offset)
    }
  }
  await admin.disconnect()
  /* kafkajs answers the end of the partition where no record is that late. */
  console.log(`offsets ${JSON.stringify(answer)}`)
}

async function adminCalls(broker) {
  const admin = kafka(broker, 0).admin()
  await admin.connect()
  const topic = `admin-${crypto.randomBytes(4).toString('hex')}`
  const wish = { topic, numPartitions: 3, replicationFactor: Math.min(BROKERS, 3), configEntries: [{ name: 'retention.ms', value: '-1' }] }
  check(await admin.createTopics({ topics: [wish], waitForLeaders: true }), 'a topic is created and has leaders')
  check((await admin.createTopics({ topics: [wish] })) === false, 'creating it again does nothing')
  await expectError(admin.createTopics({ topics: [{ topic: 'bad/name' }] }), 'INVALID_TOPIC', 'create a bad name')
  check((await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3, 'it has its partitions')
  await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
  check((await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 5, 'partitions are added')
  await expectError(admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] }), 'INVALID_PARTITIONS', 'fewer partitions')
  const configs = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
  check(configs.resources[0].configEntries.some(e => e.configName === 'retention.ms' && e.configValue === '-1'), 'configs as created')
  const cluster = await admin.describeCluster()
  check(cluster.brokers.length === BROKERS && cluster.brokers.some(b => b.nodeId === cluster.controller) && cluster.clusterId, `cluster ${cluster.clusterId}`)
  check((await admin.listTopics()).includes(topic), 'it is listed')
  await admin.deleteTopics({ topics: [topic] })
  const end = Date.now() + (BROKERS > 1 ? 10000 : 0) // of several brokers the one that is asked may hear of it a moment later, and so may the next one
  let isThere = (await admin.listTopics()).includes(topic)
  while (isThere && Date.now() < end) {
    await new Promise(resolve => setTimeout(resolve, 20))
    isThere = (await admin.listTopics()).includes(topic)
  }
  check(!isThere, 'a deleted topic is gone')
  await expectError(admin.deleteTopics({ topics: [topic] }), 'does not host', 'delete it again')
  await admin.disconnect()
}

async function member(broker, topic, group, commit) {
  const consumer = kafka(broker).consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 10000 })
  let isAsked = false
  process.on('SIGTERM', async () => {
    if (isAsked) return
    isAsked = true
    await consumer.disconnect()
    console.log('left')
    process.exit(0)
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
      if (!isRunning() || isStale() || batch.messages.length === 0) return
      for (const message of batch.messages) {
        console.log(`have ${batch.partition} ${message.offset}`)
        resolveOffset(message.offset)
      }
      const done = consumer.commitOffsets([{ topic, partition: batch.partition, offset: String(BigInt(batch.lastOffset()) + 1n) }]).catch(error => console.log(`note commit: ${error.message}`))
      if (commit !== 'async') await done
      await heartbeat()
    },
  })
  await new Promise(() => {})
}

const commands = { member, version, produce, consume, offsets, admin: adminCalls }
zstd.init().then(() => commands[process.argv[2]](...process.argv.slice(3))).catch(error => {
  console.log(`FAIL ${error.stack}`)
  process.exit(1) // what it has connected would keep it for a minute
})
