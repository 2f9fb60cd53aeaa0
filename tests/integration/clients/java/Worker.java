/* Apache Kafka's own client as producer, consumer by assignment and admin client; speaks as the Python workers do (records.py). */

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.AppInfoParser;

public final class Worker {
    static final int BROKERS = Integer.parseInt(System.getenv().getOrDefault("BROKERS", "1"));
    static final short REPLICAS = (short) Math.min(BROKERS, 3);

    private Worker() {
    }

    static void check(boolean condition, String what) {
        System.out.println((condition ? "ok " : "FAIL ") + what);
    }

    static void expect(Callable<?> call, String name, String what) {
        try {
            check(false, what + ": no error but " + call.call());
        } catch (Exception error) {
            String text = String.valueOf(error);
            check(text.contains(name), what + ": " + text.substring(0, Math.min(text.length(), 200)));
        }
    }

    static byte[] take(DataInputStream in) throws Exception {
        int size = in.readInt();
        return size < 0 ? null : in.readNBytes(size);
    }

    static byte[] field(byte[] data) {
        ByteBuffer out = ByteBuffer.allocate(4 + (data == null ? 0 : data.length));
        out.putInt(data == null ? -1 : data.length);
        if (data != null) {
            out.put(data);
        }
        return out.array();
    }

    static void produce(String broker, String topic, String file, String codec, String acks, String idempotent) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", broker);
        config.put("compression.type", codec);
        config.put("acks", acks);
        config.put("enable.idempotence", idempotent.equals("1"));
        config.put("max.in.flight.requests.per.connection", idempotent.equals("1") ? 5 : 1);
        config.put("linger.ms", 20);
        config.put("batch.size", 65536);
        AtomicLong acked = new AtomicLong();
        Map<Integer, Long> nextOffset = new HashMap<>();
        List<String> errors = Collections.synchronizedList(new ArrayList<>());
        long sent = 0;
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
             DataInputStream in = new DataInputStream(new BufferedInputStream(new FileInputStream(file), 1 << 20))) {
            while (true) {
                try {
                    in.readInt();
                } catch (EOFException end) {
                    break;
                }
                int partition = in.readInt();
                long timestamp = in.readLong();
                byte[] key = take(in);
                byte[] value = take(in);
                List<Header> headers = new ArrayList<>();
                for (int left = in.readInt(); left > 0; left--) {
                    String name = new String(take(in), StandardCharsets.UTF_8);
                    headers.add(new RecordHeader(name, take(in)));
                }
                producer.send(new ProducerRecord<>(topic, partition, timestamp, key, value, headers), (metadata, error) -> {
                    if (error != null) {
                        errors.add(error.toString());
                        return;
                    }
                    acked.incrementAndGet();
                    long due = nextOffset.getOrDefault(metadata.partition(), 0L);
                    if (!acks.equals("0") && metadata.offset() != due) {
                        errors.add("partition " + metadata.partition() + ": acknowledged at " + metadata.offset() + " instead of " + due);
                    }
                    nextOffset.put(metadata.partition(), due + 1);
                });
                sent++;
            }
        }
        check(errors.isEmpty() && acked.get() == sent,
              sent + " sent, " + acked.get() + " acknowledged, each where it belongs " + errors.subList(0, Math.min(3, errors.size())));
    }

    static KafkaConsumer<byte[], byte[]> consumer(String broker) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", broker);
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "none");
        config.put("max.poll.records", 5000);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<TopicPartition> places(KafkaConsumer<byte[], byte[]> reader, String... topics) {
        List<TopicPartition> places = new ArrayList<>();
        for (String topic : topics) {
            for (PartitionInfo info : reader.partitionsFor(topic)) {
                places.add(new TopicPartition(topic, info.partition()));
            }
        }
        return places;
    }

    static void consume(String broker, String out, String... topics) throws Exception {
        Map<TopicPartition, DataOutputStream> files = new HashMap<>();
        MessageDigest sha = MessageDigest.getInstance("SHA-1");
        MessageDigest shaOfKeyValue = MessageDigest.getInstance("SHA-1");
        int count;
        Set<TopicPartition> left = new HashSet<>();
        try (KafkaConsumer<byte[], byte[]> reader = consumer(broker)) {
            List<TopicPartition> places = places(reader, topics);
            count = places.size();
            Map<TopicPartition, Long> ends = reader.endOffsets(places);
            reader.assign(places);
            reader.seekToBeginning(places);
            for (TopicPartition place : places) {
                if (ends.get(place) > 0) {
                    left.add(place);
                }
            }
            long silentSince = System.nanoTime();
            while (!left.isEmpty() && System.nanoTime() - silentSince < 60_000_000_000L) {
                ConsumerRecords<byte[], byte[]> records = reader.poll(Duration.ofSeconds(1));
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    silentSince = System.nanoTime();
                    TopicPartition place = new TopicPartition(record.topic(), record.partition());
                    DataOutputStream file = files.get(place);
                    if (file == null) {
                        Path path = Path.of(out, record.topic() + "-" + record.partition());
                        file = new DataOutputStream(new BufferedOutputStream(new FileOutputStream(path.toFile())));
                        files.put(place, file);
                    }
                    byte[] timestamp = ByteBuffer.allocate(8).putLong(record.timestamp()).array();
                    byte[] key = field(record.key());
                    byte[] value = field(record.value());
                    sha.update(timestamp);
                    sha.update(key);
                    sha.update(value);
                    shaOfKeyValue.update(key);
                    shaOfKeyValue.update(value);
                    Header[] headers = record.headers().toArray();
                    sha.update(ByteBuffer.allocate(4).putInt(headers.length).array());
                    for (Header header : headers) {
                        sha.update(field(header.key().getBytes(StandardCharsets.UTF_8)));
                        sha.update(field(header.value()));
                    }
                    file.writeLong(record.offset());
                    file.write(timestamp);
                    file.write(sha.digest(), 0, 8);
                    file.write(shaOfKeyValue.digest(), 0, 8);
                }
                left.removeIf(place -> reader.position(place) >= ends.get(place));
            }
        }
        for (DataOutputStream file : files.values()) {
            file.close();
        }
        check(left.isEmpty(), count + " partitions read to their end");
    }

    static String json(Map<TopicPartition, Long> offsets) {
        Map<Integer, String> parts = new TreeMap<>();
        offsets.forEach((place, offset) -> parts.put(place.partition(), "\"" + place.partition() + "\": " + offset));
        return "{" + String.join(", ", parts.values()) + "}";
    }

    static void offsets(String broker, String topic, String... times) throws Exception {
        List<String> parts = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> reader = consumer(broker); Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            List<TopicPartition> places = places(reader, topic);
            parts.add("\"earliest\": " + json(reader.beginningOffsets(places)));
            parts.add("\"latest\": " + json(reader.endOffsets(places)));
            for (String time : times) {
                Map<TopicPartition, Long> query = new HashMap<>();
                places.forEach(place -> query.put(place, Long.parseLong(time)));
                Map<TopicPartition, Long> found = new HashMap<>();
                reader.offsetsForTimes(query).forEach((place, answer) -> found.put(place, answer == null ? -1 : answer.offset()));
                parts.add("\"" + time + "\": " + json(found));
            }
            Map<TopicPartition, OffsetSpec> query = new HashMap<>();
            places.forEach(place -> query.put(place, OffsetSpec.maxTimestamp()));
            ListOffsetsResult result = admin.listOffsets(query);
            Map<TopicPartition, Long> found = new HashMap<>();
            Map<TopicPartition, Long> foundTimes = new HashMap<>();
            for (TopicPartition place : places) {
                found.put(place, result.partitionResult(place).get().offset());
                foundTimes.put(place, result.partitionResult(place).get().timestamp());
            }
            parts.add("\"max\": " + json(found));
            parts.add("\"max_time\": " + json(foundTimes));
        }
        System.out.println("offsets {" + String.join(", ", parts) + "}");
    }

    static int partitionCount(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
    }

    static void admin(String broker) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            String topic = "admin-" + UUID.randomUUID().toString().substring(0, 8);
            NewTopic wish = new NewTopic(topic, 3, REPLICAS).configs(Map.of("retention.ms", "-1"));
            check(admin.createTopics(List.of(wish)).numPartitions(topic).get() == 3, "create answers with the partitions");
            check(admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().stream().allMatch(p -> p.leader() != null),
                  "each has a leader, at once");
            expect(() -> admin.createTopics(List.of(wish)).all().get(), "TopicExistsException", "create it again");
            expect(() -> admin.createTopics(List.of(new NewTopic("bad/name", 1, (short) 1))).all().get(), "InvalidTopicException", "create a bad name");
            expect(() -> admin.createTopics(List.of(new NewTopic(topic + "x", 1, (short) (BROKERS + 1)))).all().get(), "InvalidReplicationFactor",
                   "more replicas than brokers");
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            check(partitionCount(admin, topic) == 5, "partitions are added");
            expect(() -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all().get(), "InvalidPartitions", "fewer partitions");
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            check(admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms").value().equals("-1"), "configs as created");
            ConfigResource ofBroker = new ConfigResource(ConfigResource.Type.BROKER, "1");
            check(admin.describeConfigs(List.of(ofBroker)).all().get().get(ofBroker).entries().size() > 50, "configs of the broker");
            check(admin.describeCluster().nodes().get().size() == BROKERS && admin.describeCluster().clusterId().get() != null,
                  "cluster " + admin.describeCluster().clusterId().get());
            check(admin.listTopics().names().get().contains(topic), "it is listed");
            admin.deleteTopics(List.of(topic)).all().get();
            // Of several brokers the one that is asked may hear of it a moment later, and so may the next one.
            long end = System.currentTimeMillis() + (BROKERS > 1 ? 10000 : 0);
            boolean isThere = admin.listTopics().names().get().contains(topic);
            while (isThere && System.currentTimeMillis() < end) {
                Thread.sleep(20);
                isThere = admin.listTopics().names().get().contains(topic);
            }
            check(!isThere, "a deleted topic is gone");
            expect(() -> admin.deleteTopics(List.of(topic)).all().get(), "UnknownTopicOrPartition", "delete it again");
        }
    }

    static void member(String broker, String topic, String group, String commit) throws Exception {
        AtomicBoolean isAsked = new AtomicBoolean();
        Thread self = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            isAsked.set(true);
            try {
                self.join();
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }));
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", broker, "group.id", group, "enable.auto.commit", false,
            "auto.offset.reset", "earliest", "session.timeout.ms", 6000, "heartbeat.interval.ms", 500, "max.poll.records", 500));
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (!isAsked.get()) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    System.out.println("have " + record.partition() + " " + record.offset());
                }
                try {
                    if (!records.isEmpty() && commit.equals("async")) {
                        consumer.commitAsync();
                    } else if (!records.isEmpty()) {
                        consumer.commitSync();
                    }
                } catch (CommitFailedException | RetriableException error) {
                    System.out.println("note commit: " + error.getMessage().replace('\n', ' '));
                }
            }
        }
        System.out.println("left");
    }

    /* As a Kotlin program would: strings, small batches that wait a little, gzip; then a group that reads them. */
    static void transactions(String broker) throws Exception {
        String topic = "transactions";
        Map<String, Object> settings = Map.of("bootstrap.servers", broker, "linger.ms", 5, "batch.size", 16384, "compression.type", "gzip");
        int count = 5000;
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int n = 0; n < count; n++) {
                futures.add(producer.send(new ProducerRecord<>(topic, "account-" + n % 100, "{\"id\":" + n + ",\"amount\":\"12.50\"}")));
            }
        }
        int acknowledged = 0;
        for (Future<RecordMetadata> future : futures) {
            acknowledged += future.get().hasOffset() ? 1 : 0;
        }
        check(acknowledged == count, acknowledged + " of " + count + " acknowledged");
        Map<String, Object> reading = Map.of("bootstrap.servers", broker, "group.id", "ledger-" + UUID.randomUUID(), "auto.offset.reset", "earliest");
        Set<String> seen = new HashSet<>();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(reading, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(topic));
            long end = System.currentTimeMillis() + 60000;
            while (seen.size() < count && System.currentTimeMillis() < end) {
                consumer.poll(Duration.ofMillis(200)).forEach(record -> seen.add(record.value()));
            }
        }
        check(seen.size() == count, seen.size() + " of " + count + " read by a group");
    }

    public static void main(String[] all) throws Exception {
        String[] args = Arrays.copyOfRange(all, 1, all.length);
        String[] rest = Arrays.copyOfRange(args, Math.min(2, args.length), args.length);
        switch (all[0]) {
            case "version" -> System.out.println("note version Apache Kafka kafka-clients " + AppInfoParser.getVersion());
            case "produce" -> produce(args[0], args[1], args[2], args[3], args[4], args[5]);
            case "consume" -> consume(args[0], args[1], rest);
            case "offsets" -> offsets(args[0], args[1], rest);
            case "admin" -> admin(args[0]);
            case "member" -> member(args[0], args[1], args[2], args[3]);
            case "transactions" -> transactions(args[0]);
            default -> throw new IllegalArgumentException(all[0]);
        }
    }
}
