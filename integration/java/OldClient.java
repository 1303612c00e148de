import java.util.Collections;
import java.util.Properties;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Produces or consumes "value 0" … "value N-1" with whatever release of the clients is on the class path. */
public final class OldClient {
    public static void main(String[] arguments) throws Exception {
        String topic = arguments[2];
        int count = Integer.parseInt(arguments[3]);
        Properties p = new Properties();
        p.put("bootstrap.servers", arguments[1]);
        if (arguments[0].equals("produce")) {
            p.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
            p.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
            p.put("acks", "all");
            // By default it gives up what a leader does not take at once.
            p.put("retries", "1000000");
            p.put("max.in.flight.requests.per.connection", "1");
            p.put("request.timeout.ms", "120000");
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(p)) {
                java.util.List<java.util.concurrent.Future<?>> sent = new java.util.ArrayList<>();
                for (int i = 0; i < count; i++) {
                    sent.add(producer.send(new ProducerRecord<>(topic, 0, "key " + i, "value " + i)));
                }
                for (java.util.concurrent.Future<?> future : sent) {
                    future.get();
                }
            }
            return;
        }
        p.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        p.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        p.put("group.id", "old-" + topic);
        p.put("auto.offset.reset", "earliest");
        p.put("session.timeout.ms", "60000");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(p)) {
            consumer.subscribe(Collections.singletonList(topic));
            StringBuilder out = new StringBuilder();
            int seen = 0;
            long end = System.currentTimeMillis() + 180_000;
            while (seen < count && System.currentTimeMillis() < end) {
                for (ConsumerRecord<String, String> record : consumer.poll(200)) {
                    out.append(record.value()).append('\n');
                    seen++;
                }
            }
            consumer.commitSync();
            System.out.print(out);
        }
    }
}
