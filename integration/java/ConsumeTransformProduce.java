import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.stream.Collectors;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.RetriableException;

/**
 * The loop of Kafka's documentation: BOOTSTRAP FROM TO COUNT TRANSACTIONAL_ID. Copies N as "N PARTITION OFFSET" in
 * transactions that hold the group's position too, until the group has read COUNT records; prints a line for each.
 */
public final class ConsumeTransformProduce {
    private static final long DEADLINE_MS = 240_000;

    public static void main(String[] arguments) {
        String bootstrap = arguments[0];
        String from = arguments[1];
        String to = arguments[2];
        long count = Long.parseLong(arguments[3]);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerProperties(bootstrap, to));
             KafkaProducer<String, String> producer = new KafkaProducer<>(producerProperties(bootstrap, arguments[4]))) {
            untilDone(producer::initTransactions);
            consumer.subscribe(List.of(from));
            while (true) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(500));
                if (!records.isEmpty()) {
                    copy(consumer, producer, records, to);
                } else if (allRead(consumer, from, count)) {
                    return;
                }
            }
        }
    }

    private static void copy(
            KafkaConsumer<String, String> consumer,
            KafkaProducer<String, String> producer,
            ConsumerRecords<String, String> records,
            String to) {
        producer.beginTransaction();
        try {
            for (ConsumerRecord<String, String> record : records) {
                String value = record.value() + " " + record.partition() + " " + record.offset();
                producer.send(new ProducerRecord<>(to, record.partition(), null, value));
            }
            Map<TopicPartition, OffsetAndMetadata> places = new HashMap<>();
            for (TopicPartition partition : records.partitions()) {
                List<ConsumerRecord<String, String>> read = records.records(partition);
                places.put(partition, new OffsetAndMetadata(read.get(read.size() - 1).offset() + 1));
            }
            producer.sendOffsetsToTransaction(places, consumer.groupMetadata());
            untilDone(producer::commitTransaction);
            System.out.println("committed " + records.count());
        } catch (org.apache.kafka.common.errors.ProducerFencedException e) {
            throw e;
        } catch (KafkaException e) {
            System.out.println("failed " + e);
            untilDone(producer::abortTransaction);
            backToCommitted(consumer);
        }
    }

    private static void backToCommitted(KafkaConsumer<String, String> consumer) {
        Set<TopicPartition> assigned = consumer.assignment();
        Map<TopicPartition, OffsetAndMetadata> committed = new HashMap<>();
        untilDone(() -> committed.putAll(consumer.committed(assigned)));
        for (TopicPartition partition : assigned) {
            OffsetAndMetadata place = committed.get(partition);
            consumer.seek(partition, place == null ? 0 : place.offset());
        }
    }

    private static boolean allRead(KafkaConsumer<String, String> consumer, String topic, long count) {
        try {
            Set<TopicPartition> all = consumer.partitionsFor(topic).stream()
                .map(info -> new TopicPartition(topic, info.partition()))
                .collect(Collectors.toSet());
            long read = consumer.committed(all).values().stream()
                .mapToLong(place -> place == null ? 0 : place.offset())
                .sum();
            return read >= count;
        } catch (RetriableException e) {
            return false;
        }
    }

    /** Repeats what a lost coordinator has interrupted. */
    private static void untilDone(Runnable call) {
        long end = System.currentTimeMillis() + DEADLINE_MS;
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException e) {
                if (System.currentTimeMillis() > end) {
                    throw e;
                }
            }
        }
    }

    private static Properties consumerProperties(String bootstrap, String to) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("group.id", "copies-" + to);
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        p.put("isolation.level", "read_committed");
        p.put("session.timeout.ms", "10000");
        p.put("max.poll.records", "50");
        p.put("default.api.timeout.ms", "60000");
        p.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        p.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        return p;
    }

    private static Properties producerProperties(String bootstrap, String transactionalId) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("transactional.id", transactionalId);
        p.put("transaction.timeout.ms", "600000");
        p.put("delivery.timeout.ms", "240000");
        p.put("max.block.ms", "240000");
        p.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        p.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        return p;
    }
}
