import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Writes and reads partition 0 of topics with whatever release of the clients from 0.10 on is on the class path.
 * Arguments: the address, then {@code write:TOPIC:CODEC:COUNT}, {@code transactions:TOPIC:CODEC:COUNT} (one of two is
 * aborted) or {@code read:TOPIC:OFFSET:COUNT}. What is read is printed, a line for a record.
 */
public final class OldFormats {
    /** Not so old that retention takes the records. */
    private static final long START = System.currentTimeMillis() / 1_000 * 1_000;
    private static final String STRING = "org.apache.kafka.common.serialization.String";

    public static void main(String[] arguments) throws Exception {
        for (int i = 1; i < arguments.length; i++) {
            String[] step = arguments[i].split(":");
            int count = Integer.parseInt(step[3]);
            switch (step[0]) {
                case "write": write(arguments[0], step[1], step[2], count, false); break;
                case "transactions": write(arguments[0], step[1], step[2], count, true); break;
                default: read(arguments[0], step[1], Long.parseLong(step[2]), count);
            }
        }
    }

    private static void write(String address, String topic, String codec, int count, boolean inTransactions)
            throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", address);
        p.put("key.serializer", STRING + "Serializer");
        p.put("value.serializer", STRING + "Serializer");
        p.put("acks", "all");
        p.put("compression.type", codec);
        // Old ones give up by default what a leader does not take at once.
        p.put("retries", "1000000");
        p.put("max.in.flight.requests.per.connection", "1");
        p.put("request.timeout.ms", "100000");
        p.put("linger.ms", "20");
        p.put("batch.size", "3000");
        if (inTransactions) {
            p.put("transactional.id", topic);
        }
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(p)) {
            if (inTransactions) {
                call(producer, "initTransactions");
            }
            List<Future<?>> sent = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                if (inTransactions && i % 10 == 0) {
                    call(producer, "beginTransaction");
                }
                sent.add(producer.send(record(topic, i)));
                if (inTransactions && i % 10 == 9) {
                    call(producer, "flush");
                    call(producer, i % 20 == 9 ? "abortTransaction" : "commitTransaction");
                }
            }
            for (Future<?> future : sent) {
                future.get();
            }
        }
    }

    private static ProducerRecord<String, String> record(String topic, int i) throws Exception {
        String key = i % 3 == 0 ? null : "key " + i;
        String value = i % 7 == 0 ? null : "value " + i + " of " + topic;
        ProducerRecord<String, String> record = new ProducerRecord<>(topic, 0, START + i * 3, key, value);
        try {
            Object headers = ProducerRecord.class.getMethod("headers").invoke(record);
            headers.getClass().getMethod("add", String.class, byte[].class).invoke(headers, "header", new byte[3]);
        } catch (NoSuchMethodException old) {
            // Before 0.11 there are none.
        }
        return record;
    }

    private static void call(Object producer, String method) throws Exception {
        producer.getClass().getMethod(method).invoke(producer);
    }

    private static void read(String address, String topic, long offset, int count) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", address);
        p.put("key.deserializer", STRING + "Deserializer");
        p.put("value.deserializer", STRING + "Deserializer");
        p.put("max.partition.fetch.bytes", "5000");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(p)) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(Collections.singletonList(partition));
            consumer.seek(partition, offset);
            StringBuilder out = new StringBuilder();
            int seen = 0;
            long end = System.currentTimeMillis() + 180_000;
            while (seen < count && System.currentTimeMillis() < end) {
                for (ConsumerRecord<String, String> record : consumer.poll(200)) {
                    out.append(record.topic()).append(' ').append(record.offset()).append(' ')
                        .append(record.timestampType()).append(' ').append(record.timestamp()).append(' ')
                        .append(record.key()).append(' ').append(record.value()).append('\n');
                    seen++;
                }
            }
            System.out.print(out);
        }
    }
}
