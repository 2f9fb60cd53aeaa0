// franz-go as producer, consumer by assignment and admin client; speaks as the Python workers do (records.py).
package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func check(condition bool, format string, args ...any) {
	word := "FAIL"
	if condition {
		word = "ok"
	}
	fmt.Println(word, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func field(out []byte, data []byte) []byte {
	if data == nil {
		return binary.BigEndian.AppendUint32(out, 0xffffffff)
	}
	return append(binary.BigEndian.AppendUint32(out, uint32(len(data))), data...)
}

func readRecords(name string, each func(*kgo.Record)) {
	file := must(os.Open(name))
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<20)
	head := make([]byte, 8)
	for {
		if _, err := io.ReadFull(in, head); err == io.EOF {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(head)-4)
		must(io.ReadFull(in, data))
		record := &kgo.Record{Partition: int32(binary.BigEndian.Uint32(head[4:])),
			Timestamp: time.UnixMilli(int64(binary.BigEndian.Uint64(data)))}
		data = data[8:]
		take := func() []byte {
			size := int32(binary.BigEndian.Uint32(data))
			data = data[4:]
			if size < 0 {
				return nil
			}
			part := data[:size:size]
			data = data[size:]
			return part
		}
		record.Key = take()
		record.Value = take()
		count := binary.BigEndian.Uint32(data)
		data = data[4:]
		for ; count > 0; count-- {
			name := string(take())
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: name, Value: take()})
		}
		each(record)
	}
}

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
	client := must(kgo.NewClient(options...))
	var lock sync.Mutex
	next := map[int32]int64{}
	errors := []string{}
	sent, acked := 0, 0
	readRecords(file, func(record *kgo.Record) {
		sent++
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
	check(err == nil && len(errors) == 0 && acked == sent, "%d sent, %d acknowledged, each where it belongs %v", sent, acked, errors[:min(3, len(errors))])
}

func consume(broker, out string, topics []string) {
	asked := must(kgo.NewClient(kgo.SeedBrokers(strings.Split(broker, ",")...)))
	ends := must(kadm.NewClient(asked).ListEndOffsets(context.Background(), topics...))
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
	client := must(kgo.NewClient(kgo.SeedBrokers(strings.Split(broker, ",")...), kgo.ConsumePartitions(assignment), kgo.FetchMaxPartitionBytes(1<<20)))
	files := map[string]*bufio.Writer{}
	entry, body := []byte{}, []byte{}
	for len(left) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		fetches := client.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil {
			check(false, "fetch: %v", err)
			return
		}
		fetches.EachRecord(func(record *kgo.Record) {
			name := fmt.Sprintf("%s-%d", record.Topic, record.Partition)
			if files[name] == nil {
				files[name] = bufio.NewWriter(must(os.Create(filepath.Join(out, name))))
			}
			body = binary.BigEndian.AppendUint64(body[:0], uint64(record.Timestamp.UnixMilli()))
			body = field(field(body, record.Key), record.Value)
			keyValue := sha1.Sum(body[8:])
			body = binary.BigEndian.AppendUint32(body, uint32(len(record.Headers)))
			for _, header := range record.Headers {
				body = field(field(body, []byte(header.Key)), header.Value)
			}
			whole := sha1.Sum(body)
			entry = binary.BigEndian.AppendUint64(entry[:0], uint64(record.Offset))
			entry = append(append(append(entry, body[:8]...), whole[:8]...), keyValue[:8]...)
			must(files[name].Write(entry))
			if record.Offset+1 >= left[name] {
				delete(left, name)
			}
		})
	}
	client.Close()
	for _, file := range files {
		if err := file.Flush(); err != nil {
			panic(err)
		}
	}
	check(len(left) == 0, "%d partitions read to their end", count)
}

func offsets(broker, topic string, times []string) {
	client := must(kgo.NewClient(kgo.SeedBrokers(strings.Split(broker, ",")...)))
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
	note("earliest", must(admin.ListStartOffsets(ctx, topic)))
	note("latest", must(admin.ListEndOffsets(ctx, topic)))
	note("max", must(admin.ListMaxTimestampOffsets(ctx, topic)))
	/* kadm answers the end of the partition where no record is that late. */
	for _, text := range times {
		note(text, must(admin.ListOffsetsAfterMilli(ctx, must(strconv.ParseInt(text, 10, 64)), topic)))
	}
	fmt.Println("offsets " + string(must(json.Marshal(answer))))
}

func brokers() int {
	if text := os.Getenv("BROKERS"); text != "" {
		return must(strconv.Atoi(text))
	}
	return 1
}

func admin(broker string) {
	client := must(kgo.NewClient(kgo.SeedBrokers(strings.Split(broker, ",")...)))
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx := context.Background()
	topic := fmt.Sprintf("admin-%d", time.Now().UnixNano())
	value := "-1"
	made := must(admin.CreateTopic(ctx, 3, int16(min(brokers(), 3)), map[string]*string{"retention.ms": &value}, topic))
	check(made.ID != kadm.TopicID{} && made.NumPartitions == 3, "create answers with id and partitions")
	_, err := admin.CreateTopic(ctx, 3, int16(min(brokers(), 3)), nil, topic)
	check(err == kerr.TopicAlreadyExists, "create it again: %v", err)
	_, err = admin.CreateTopic(ctx, 1, 1, nil, "bad/name")
	check(err == kerr.InvalidTopicException, "create a bad name: %v", err)
	listed := must(admin.ListTopics(ctx, topic))
	check(len(listed[topic].Partitions) == 3 && listed[topic].Partitions[2].Leader >= 1, "a leader for each, at once")
	must(admin.UpdatePartitions(ctx, 5, topic))
	check(len(must(admin.ListTopics(ctx, topic))[topic].Partitions) == 5, "partitions are added")
	fewer := must(admin.UpdatePartitions(ctx, 4, topic))
	check(fewer[topic].Err == kerr.InvalidPartitions, "fewer partitions: %v", fewer[topic].Err)
	configs := must(admin.DescribeTopicConfigs(ctx, topic))
	isGood := false
	for _, config := range configs[0].Configs {
		isGood = isGood || config.Key == "retention.ms" && config.Value != nil && *config.Value == "-1"
	}
	check(isGood, "configs as created")
	metadata := must(admin.BrokerMetadata(ctx))
	check(len(metadata.Brokers) == brokers() && metadata.Cluster != "", "cluster %s", metadata.Cluster)
	deleted := must(admin.DeleteTopics(ctx, topic))
	// Of several brokers the one that is asked may hear of it a moment later.
	for end := time.Now().Add(10 * time.Second); brokers() > 1 && time.Now().Before(end) && must(admin.ListTopics(ctx)).Has(topic); {
		time.Sleep(20 * time.Millisecond)
	}
	check(deleted[topic].Err == nil && !must(admin.ListTopics(ctx)).Has(topic), "a deleted topic is gone")
	deleted = must(admin.DeleteTopics(ctx, topic))
	check(deleted[topic].Err == kerr.UnknownTopicOrPartition, "delete it again: %v", deleted[topic].Err)
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
	}
}
