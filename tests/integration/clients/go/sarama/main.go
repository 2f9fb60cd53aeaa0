// sarama as producer, consumer by assignment, admin client and member of a group; speaks as the Python workers do (records.py).
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

	"github.com/IBM/sarama"
)

func config() *sarama.Config {
	config := sarama.NewConfig() // Version is sarama's own default, which most programs leave alone
	config.Metadata.Retry.Max = 20
	config.Net.DialTimeout = 20 * time.Second
	return config
}

func produce(broker, topic, file, codec, acks, idempotent string) {
	codecs := map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}
	levels := map[string]sarama.RequiredAcks{"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll}
	settings := config()
	settings.Producer.Compression = codecs[codec]
	settings.Producer.RequiredAcks = levels[acks]
	settings.Producer.Partitioner = sarama.NewManualPartitioner
	settings.Producer.Return.Successes = true
	settings.Producer.MaxMessageBytes = 1048588
	settings.Producer.Flush.Frequency = 20 * time.Millisecond
	settings.Producer.Retry.Max = 1200 // 100 ms apart: two minutes, as others' delivery timeout
	settings.Producer.Idempotent = idempotent == "1"
	settings.Net.MaxOpenRequests = 1
	producer := records.Must(sarama.NewAsyncProducer(strings.Split(broker, ","), settings))
	next := map[int32]int64{}
	errors := []string{}
	acked, sent := 0, 0
	var done, waiting sync.WaitGroup
	done.Add(2)
	go func() {
		defer done.Done()
		for message := range producer.Successes() {
			waiting.Done()
			acked++
			if acks != "0" && message.Offset != next[message.Partition] {
				errors = append(errors, fmt.Sprintf("partition %d: acknowledged at %d instead of %d", message.Partition, message.Offset, next[message.Partition]))
			}
			next[message.Partition]++
		}
	}()
	failed := 0
	go func() {
		defer done.Done()
		for err := range producer.Errors() {
			waiting.Done()
			failed++
			fmt.Println("note", err.Err)
		}
	}()
	records.Read(file, func(source *records.Record) {
		sent++
		waiting.Add(1)
		message := &sarama.ProducerMessage{Topic: topic, Partition: source.Partition, Timestamp: time.UnixMilli(source.Millis)}
		if source.Key != nil {
			message.Key = sarama.ByteEncoder(source.Key)
		}
		if source.Value != nil {
			message.Value = sarama.ByteEncoder(source.Value)
		}
		for _, header := range source.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
		}
		producer.Input() <- message
	})
	/* sarama 1.61 gives up what it would send again as soon as it is told to close ("in process of shutting down"). */
	waiting.Wait()
	producer.AsyncClose()
	done.Wait()
	records.Check(failed == 0 && len(errors) == 0 && acked == sent, "%d sent, %d acknowledged, each where it belongs %v", sent, acked, errors[:min(3, len(errors))])
}

func consume(broker, out string, topics []string) {
	settings := config()
	settings.Consumer.Fetch.Default = 1 << 20
	client := records.Must(sarama.NewClient(strings.Split(broker, ","), settings))
	consumer := records.Must(sarama.NewConsumerFromClient(client))
	digests := records.NewDigests(out)
	var lock sync.Mutex
	var done sync.WaitGroup
	count := 0
	isWhole := true
	read := func(topic string, partition int32, end int64) {
		defer done.Done()
		reader := records.Must(consumer.ConsumePartition(topic, partition, sarama.OffsetOldest))
		for offset := int64(-1); offset < end-1; {
			select {
			case message := <-reader.Messages():
				offset = message.Offset
				headers := make([]records.Header, len(message.Headers))
				for i, header := range message.Headers {
					headers[i] = records.Header{Name: string(header.Key), Value: header.Value}
				}
				lock.Lock()
				digests.Add(topic, partition, offset, message.Timestamp.UnixMilli(), message.Key, message.Value, headers)
				lock.Unlock()
			case <-time.After(60 * time.Second):
				lock.Lock()
				isWhole = false
				lock.Unlock()
				offset = end
			}
		}
		reader.AsyncClose()
	}
	for _, topic := range topics {
		for _, partition := range records.Must(client.Partitions(topic)) {
			count++
			if end := records.Must(client.GetOffset(topic, partition, sarama.OffsetNewest)); end > 0 {
				done.Add(1)
				go read(topic, partition, end)
			}
		}
	}
	done.Wait()
	digests.Close()
	records.Check(isWhole, "%d partitions read to their end", count)
}

func offsets(broker, topic string, times []string) {
	client := records.Must(sarama.NewClient(strings.Split(broker, ","), config()))
	answer := map[string]map[int32]int64{}
	ask := func(name string, time int64) {
		answer[name] = map[int32]int64{}
		for _, partition := range records.Must(client.Partitions(topic)) {
			answer[name][partition] = records.Must(client.GetOffset(topic, partition, time))
		}
	}
	ask("earliest", sarama.OffsetOldest)
	ask("latest", sarama.OffsetNewest)
	for _, text := range times {
		ask(text, records.Must(strconv.ParseInt(text, 10, 64)))
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
	admin := records.Must(sarama.NewClusterAdmin(strings.Split(broker, ","), config()))
	topic := fmt.Sprintf("admin-%d", time.Now().UnixNano())
	forever := "-1"
	detail := &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: int16(min(brokers(), 3)), ConfigEntries: map[string]*string{"retention.ms": &forever}}
	records.Check(admin.CreateTopic(topic, detail, false) == nil, "a topic is created")
	err := admin.CreateTopic(topic, detail, false)
	records.Check(err != nil && strings.Contains(err.Error(), "already exists"), "create it again: %v", err)
	described := records.Must(admin.DescribeTopics([]string{topic}))
	records.Check(len(described[0].Partitions) == 3 && described[0].Partitions[2].Leader >= 1, "a leader for each, at once")
	records.Check(admin.CreatePartitions(topic, 5, nil, false) == nil, "partitions are added")
	entries := records.Must(admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}}))
	records.Check(len(entries) == 1 && entries[0].Value == "-1", "configs as created: %v", entries)
	nodes, controller, err := admin.DescribeCluster()
	records.Check(err == nil && len(nodes) == brokers() && controller >= 1, "cluster of %d, controller %d", len(nodes), controller)
	records.Check(admin.DeleteTopic(topic) == nil, "a topic is deleted")
	records.Must(0, admin.Close())
}

type handler struct {
	commit string
}

func (handler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		fmt.Println("have", message.Partition, message.Offset)
		session.MarkMessage(message, "")
		if h.commit != "async" && message.Offset%50 == 0 {
			session.Commit()
		}
	}
	return nil
}

func member(broker, topic, group, commit string) {
	settings := config()
	settings.Consumer.Offsets.Initial = sarama.OffsetOldest
	settings.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	settings.Consumer.Group.Session.Timeout = 6 * time.Second
	settings.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	settings.Consumer.Group.Rebalance.Timeout = 10 * time.Second
	reader := records.Must(sarama.NewConsumerGroup(strings.Split(broker, ","), group, settings))
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	for ctx.Err() == nil {
		if err := reader.Consume(ctx, []string{topic}, handler{commit}); err != nil {
			fmt.Println("note", err)
			time.Sleep(200 * time.Millisecond)
		}
	}
	if err := reader.Close(); err != nil {
		fmt.Println("note", err)
	}
	fmt.Println("left")
}

func version() {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/IBM/sarama" {
			fmt.Println("note version sarama", strings.TrimPrefix(module.Version, "v"))
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
