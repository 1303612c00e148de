// A round trip with franz-go: produces with each codec, consumes in a group whose second member
// joins half way, and prints what came back.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func main() {
	if len(os.Args) != 4 {
		fail("usage: franz BOOTSTRAP TOPIC RECORDS")
	}
	bootstrap, topic := os.Args[1], os.Args[2]
	var records int
	if _, err := fmt.Sscan(os.Args[3], &records); err != nil {
		fail("records: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 180*time.Second)
	defer cancel()

	// A busy machine may answer late.
	patience := kgo.DialTimeout(60 * time.Second)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	expected := map[string]int{}
	for name, codec := range codecs {
		producer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ProducerBatchCompression(codec),
			kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(-1), patience)
		if err != nil {
			fail("producer: %v", err)
		}
		for i := 0; i < records; i++ {
			value := fmt.Sprintf("%s-%d", name, i)
			expected[value] = 0
			producer.Produce(ctx, &kgo.Record{Topic: topic, Key: []byte(value), Value: []byte(value)},
				func(_ *kgo.Record, err error) {
					if err != nil {
						fail("produce: %v", err)
					}
				})
		}
		if err := producer.Flush(ctx); err != nil {
			fail("flush: %v", err)
		}
		producer.Close()
	}

	member := func() *kgo.Client {
		consumer, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic),
			kgo.ConsumerGroup("franz-"+topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.FetchMaxWait(200*time.Millisecond), patience)
		if err != nil {
			fail("consumer: %v", err)
		}
		return consumer
	}
	members := []*kgo.Client{member()}
	seen := 0
	for seen < len(expected) {
		if ctx.Err() != nil {
			fail("%d of %d records came back", seen, len(expected))
		}
		for _, consumer := range members {
			poll, stop := context.WithTimeout(ctx, time.Second)
			consumer.PollFetches(poll).EachRecord(func(r *kgo.Record) {
				count, known := expected[string(r.Value)]
				if !known || string(r.Key) != string(r.Value) {
					fail("a record that nobody sent: %q", r.Value)
				}
				if count == 0 {
					seen++
				}
				expected[string(r.Value)]++
			})
			stop()
		}
		if len(members) == 1 {
			members = append(members, member())
		}
	}
	for _, consumer := range members {
		consumer.Close()
	}
	fmt.Printf("%d records\n", seen)
}
