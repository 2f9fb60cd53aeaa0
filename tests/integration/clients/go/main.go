// franz-go as producer, consumer by assignment and admin client; speaks as the Python workers do (records.py).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"balsa/testclients/records"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func produce(broker, topic, file, codec, acks, idempotent string) {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	levels := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	options := []kgo.Opt{kgo.SeedBrokers(strings.Split(broker, ",")...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[codec]), kgo.RequiredAcks(levels[acks]), kgo.AllowAutoTopicCreation(),
		kgo.ProducerLinger(20 * time.Millisecond), kgo.ProducerBatchMaxBytes(1048588)}
	if idempotent != "1" {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	client := records.Must(kgo.NewClient(options...))
	var lock sync.Mutex
	next := map[int32]int64{}
	errors := []string{}
	sent, acked := 0, 0
	records.Read(file, func(source *records.Record) {
		sent++
		record := &kgo.Record{Partition: source.Partition, Timestamp: time.UnixMilli(source.Millis), Key: source.Key, Value: source.Value}
		for _, header := range source.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
		client.Produce(context.Background(), record, func(record *kgo.Record, err error) {
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				errors = append(errors, err.Error())
				return
			}
			acked++
			if acks != "0" && record.Offset != next[record.Partition] {
				errors = append(errors, fmt.Sprintf("partition %d: acknowledged at %d instead of %d", record.Partition, record.Offset, next[record.Partition]))
			}
			next[record.Partition]++
		})
	})
	err := client.Flush(context.Background())
	client.Close()
	records.Check(err == nil && len(errors) == 0 && acked == sent, "%d sent, %d acknowledged, each where it belongs %v", sent, acked, errors[:min(3, len(errors))])
}

func consume(broker, out string, topics []string) {
	asked := records.Must(kgo.NewClient(kgo.SeedBrokers(strings.Split(broker, ",")...)))
	ends := records.Must(kadm.NewClient(asked).ListEndOffsets(context.Background(), topics...))
	asked.Close()
	assignment := map[string]map[int32]kgo.Offset{}
	left := map[string]int64{}
	count := 0
	ends.Each(func(end kadm.ListedOffset) {
		if assignment[end.Topic] == nil {
			assignment[end.Topic] = map[int32]kgo.Offset{}
		}
		assignment[end.Topic][end.Partition] = kgo.NewOffset().AtStart()
		count++
		if end.Offset > 0 {
			left[fmt.Sprintf("%s-%d", end.Topic, end.Partition)] = end.Offset
		}
	})
	client := records.Must(kgo.NewClient(kgo.SeedBrokers(strings.Split(broker, ",")...), kgo.ConsumePartitions(assignment), kgo.FetchMaxPartitionBytes(1<<20)))
	digests := records.NewDigests(out)
	for len(left) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		fetches := client.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil {
			records.Check(false, "fetch: %v", err)
			return
		}
		fetches.EachRecord(func(record *kgo.Record) {
			name := fmt.Sprintf("%s-%d", record.Topic, record.Partition)
			headers := make([]records.Header, len(record.Headers))
			for i, header := range record.Headers {
				headers[i] = records.Header{Name: header.Key, Value: header.Value}
			}
			digests.Add(record.Topic, record.Partition, record.Offset, record.Timestamp.UnixMilli(), record.Key, record.Value, headers)
			if record.Offset+1 >= left[name] {
				delete(left, name)
			}
		})
	}
	client.Close()
	digests.Close()
	records.Check(len(left) == 0, "%d partitions read to their end", count)
}

func offsets(broker, topic string, times []string) {
	client := records.Must(kgo.NewClient(kgo.SeedBrokers(strings.Split(broker, ",")...)))
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx := context.Background()
	answer := map[string]map[int32]int64{"max_time": {}}
	note := func(name string, listed kadm.ListedOffsets) {
		answer[name] = map[int32]int64{}
		listed.Each(func(found kadm.ListedOffset) {
			if found.Err != nil {
				panic(found.Err)
			}
			answer[name][found.Partition] = found.Offset
			if name == "max" {
				answer["max_time"][found.Partition] = found.Timestamp
			}
		})
	}
	note("earliest", records.Must(admin.ListStartOffsets(ctx, topic)))
	note("latest", records.Must(admin.ListEndOffsets(ctx, topic)))
	note("max", records.Must(admin.ListMaxTimestampOffsets(ctx, topic)))
	/* kadm answers the end of the partition where no record is that late. */
	for _, text := range times {
		note(text, records.Must(admin.ListOffsetsAfterMilli(ctx, records.Must(strconv.ParseInt(text, 10, 64)), topic)))
	}
	fmt.Println("offsets " + string(records.Must(json.Marshal(answer))))
}

func brokers() int {
	if text := os.Getenv("BROKERS"); text != "" {
		return records.Must(strconv.Atoi(text))
	}
	return 1
}

func admin(broker string) {
	client := records.Must(kgo.NewClient(kgo.SeedBrokers(strings.Split(broker, ",")...)))
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx := context.Background()
	topic := fmt.Sprintf("admin-%d", time.Now().UnixNano())
	value := "-1"
	made := records.Must(admin.CreateTopic(ctx, 3, int16(min(brokers(), 3)), map[string]*string{"retention.ms": &value}, topic))
	records.Check(made.ID != kadm.TopicID{} && made.NumPartitions == 3, "create answers with id and partitions")
	_, err := admin.CreateTopic(ctx, 3, int16(min(brokers(), 3)), nil, topic)
	records.Check(err == kerr.TopicAlreadyExists, "create it again: %v", err)
	_, err = admin.CreateTopic(ctx, 1, 1, nil, "bad/name")
	records.Check(err == kerr.InvalidTopicException, "create a bad name: %v", err)
	listed := records.Must(admin.ListTopics(ctx, topic))
	records.Check(len(listed[topic].Partitions) == 3 && listed[topic].Partitions[2].Leader >= 1, "a leader for each, at once")
	records.Must(admin.UpdatePartitions(ctx, 5, topic))
	records.Check(len(records.Must(admin.ListTopics(ctx, topic))[topic].Partitions) == 5, "partitions are added")
	fewer := records.Must(admin.UpdatePartitions(ctx, 4, topic))
	records.Check(fewer[topic].Err == kerr.InvalidPartitions, "fewer partitions: %v", fewer[topic].Err)
	configs := records.Must(admin.DescribeTopicConfigs(ctx, topic))
	isGood := false
	for _, config := range configs[0].Configs {
		isGood = isGood || config.Key == "retention.ms" && config.Value != nil && *config.Value == "-1"
	}
	records.Check(isGood, "configs as created")
	metadata := records.Must(admin.BrokerMetadata(ctx))
	records.Check(len(metadata.Brokers) == brokers() && metadata.Cluster != "", "cluster %s", metadata.Cluster)
	deleted := records.Must(admin.DeleteTopics(ctx, topic))
	// Of several brokers the one that is asked may hear of it a moment later, and so may the next one.
	isThere := records.Must(admin.ListTopics(ctx)).Has(topic)
	for end := time.Now().Add(10 * time.Second); isThere && brokers() > 1 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
		isThere = records.Must(admin.ListTopics(ctx)).Has(topic)
	}
	records.Check(deleted[topic].Err == nil && !isThere, "a deleted topic is gone")
	deleted = records.Must(admin.DeleteTopics(ctx, topic))
	records.Check(deleted[topic].Err == kerr.UnknownTopicOrPartition, "delete it again: %v", deleted[topic].Err)
}

func member(broker, topic, group, commit string) {
	client := records.Must(kgo.NewClient(kgo.SeedBrokers(strings.Split(broker, ",")...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond)))
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	ctx := context.Background()
	for {
		select {
		case <-asked:
			client.Close()
			fmt.Println("left")
			return
		default:
		}
		limited, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		fetches := client.PollRecords(limited, 500)
		cancel()
		if fetches.NumRecords() == 0 {
			continue
		}
		fetches.EachRecord(func(record *kgo.Record) { fmt.Println("have", record.Partition, record.Offset) })
		if commit == "async" {
			client.CommitOffsets(ctx, client.UncommittedOffsets(), nil)
		} else if err := client.CommitUncommittedOffsets(ctx); err != nil {
			fmt.Println("note commit:", err)
		}
	}
}

func version() {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/twmb/franz-go" {
			fmt.Println("note version franz-go", strings.TrimPrefix(module.Version, "v"))
		}
	}
}

func main() {
	args := os.Args[2:]
	switch os.Args[1] {
	case "version":
		version()
	case "produce":
		produce(args[0], args[1], args[2], args[3], args[4], args[5])
	case "consume":
		consume(args[0], args[1], args[2:])
	case "offsets":
		offsets(args[0], args[1], args[2:])
	case "admin":
		admin(args[0])
	case "member":
		member(args[0], args[1], args[2], args[3])
	}
}
