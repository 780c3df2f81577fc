// Puts payment orders into Kafka and waits for the result of each, as place_orders.py does.
//
//   java -cp 'libs/*' PlaceOrders.java 127.0.0.1:9092 FIRST COUNT
//
// It needs nothing but kafka-clients. The topics, which it does not make, and the binding that takes the orders in are those of
// place_orders.py and settings.toml beside it.

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class PlaceOrders {
    static final String ORDERS = "payment_order";
    static final String REPLIES = "payment_replies";

    public static void main(String[] arguments) throws Exception {
        String servers = arguments[0];
        long first = Long.parseLong(arguments[1]);
        long count = Long.parseLong(arguments[2]);
        try (KafkaConsumer<String, String> replies = openReplies(servers)) {
            Set<String> waiting = send(servers, first, count);
            long deadline = System.nanoTime() + Duration.ofSeconds(100).toNanos();
            while (!waiting.isEmpty() && System.nanoTime() < deadline) {
                for (ConsumerRecord<String, String> reply : replies.poll(Duration.ofSeconds(1))) {
                    String order = header(reply, "correlation_id");
                    // The result may come twice: what was answered already is passed over.
                    if (waiting.remove(order)) {
                        System.out.println(order + " " + header(reply, "ce_type"));
                    }
                }
            }
            if (!waiting.isEmpty()) {
                System.err.println(waiting.size() + " orders were not answered in time");
                System.exit(1);
            }
        }
    }

    /** Returns a consumer that sees what is sent to the topic of replies from now on. */
    static KafkaConsumer<String, String> openReplies(String servers) {
        Map<String, Object> settings = Map.of("bootstrap.servers", servers, "enable.auto.commit", false);
        var replies = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
        List<TopicPartition> partitions =
                replies.partitionsFor(REPLIES).stream()
                        .map(found -> new TopicPartition(REPLIES, found.partition()))
                        .toList();
        replies.assign(partitions);
        replies.seekToEnd(partitions);
        // Now, and not when the first message is asked for.
        partitions.forEach(replies::position);
        return replies;
    }

    /** Sends orders. Returns their ids when Kafka has confirmed every one. */
    static Set<String> send(String servers, long first, long count) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", servers, "acks", "all");
        Set<String> orders = new HashSet<>();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (long number = first; number < first + count; number++) {
                String order = Long.toString(number);
                String body = "{\"order_id\":\"" + order + "\",\"amount\":100}";
                var record = new ProducerRecord<>(ORDERS, order, body);
                record.headers()
                        .add("content-type", "application/json".getBytes())
                        .add("reply_to", REPLIES.getBytes())
                        .add("correlation_id", order.getBytes());
                sent.add(producer.send(record));
                orders.add(order);
            }
            for (Future<RecordMetadata> one : sent) {
                one.get();
            }
        }
        return orders;
    }

    static String header(ConsumerRecord<String, String> record, String name) {
        return new String(record.headers().lastHeader(name).value());
    }
}
