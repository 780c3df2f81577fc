import java.io.File;
import java.io.FileInputStream;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.List;
import javax.net.ssl.KeyManagerFactory;
import org.apache.activemq.broker.BrokerPlugin;
import org.apache.activemq.broker.BrokerService;
import org.apache.activemq.broker.SslContext;
import org.apache.activemq.broker.region.policy.PolicyEntry;
import org.apache.activemq.broker.region.policy.PolicyMap;
import org.apache.activemq.filter.DestinationMapEntry;
import org.apache.activemq.security.AuthenticationUser;
import org.apache.activemq.security.AuthorizationEntry;
import org.apache.activemq.security.AuthorizationPlugin;
import org.apache.activemq.security.DefaultAuthorizationMap;
import org.apache.activemq.security.SimpleAuthenticationPlugin;

/** ActiveMQ Classic for tests: Broker FOLDER PORT [TLS_PORT KEYSTORE] */
public class Broker {
    public static void main(String[] arguments) throws Exception {
        BrokerService broker = new BrokerService();
        broker.setBrokerName("tributary");
        broker.setDataDirectoryFile(new File(arguments[0], "data"));
        broker.setPersistent(true);
        broker.setUseJmx(false);
        broker.setUseShutdownHook(false);
        broker.getSystemUsage().getMemoryUsage().setLimit(64L << 20);
        broker.getSystemUsage().getStoreUsage().setLimit(1L << 30);
        broker.getSystemUsage().getTempUsage().setLimit(128L << 20);
        broker.setPlugins(new BrokerPlugin[] {authentication(), authorization()});
        broker.setDestinationPolicy(policies());
        String options = "maxConnections=1000&wireFormat.maxFrameSize=4194304";
        broker.addConnector("amqp://127.0.0.1:" + arguments[1] + "?" + options);
        if (arguments.length > 2) {
            broker.setSslContext(tls(arguments[3]));
            broker.addConnector("amqp+ssl://127.0.0.1:" + arguments[2] + "?" + options);
        }
        broker.start();
        broker.waitUntilStarted();
        broker.waitUntilStopped();
    }

    /** `admin` may create queues, `tributary` may use those that are there, `guest` may do nothing. */
    private static SimpleAuthenticationPlugin authentication() {
        return new SimpleAuthenticationPlugin(List.of(
            new AuthenticationUser("admin", "admin", "admins,users"),
            new AuthenticationUser("tributary", "tributary", "users"),
            new AuthenticationUser("guest", "guest", "guests")));
    }

    private static AuthorizationPlugin authorization() throws Exception {
        List<DestinationMapEntry> entries = new ArrayList<>();
        entries.add(queue(">", "admins"));
        // Queues that users may create: for declare=create, and those of examples/activemq.
        for (String name : List.of("created.>", "payment_order.>", "payment_replies")) {
            entries.add(queue(name, "users"));
        }
        AuthorizationEntry topics = new AuthorizationEntry();
        topics.setTopic(">");
        rights(topics, "users", "users", "admins");
        entries.add(topics);
        AuthorizationEntry advisories = new AuthorizationEntry();
        advisories.setTopic("ActiveMQ.Advisory.>");
        rights(advisories, "users,guests", "users,guests", "users,guests");
        entries.add(advisories);
        return new AuthorizationPlugin(new DefaultAuthorizationMap(entries));
    }

    private static AuthorizationEntry queue(String name, String creators) throws Exception {
        AuthorizationEntry entry = new AuthorizationEntry();
        entry.setQueue(name);
        rights(entry, "users", "users", creators);
        return entry;
    }

    private static void rights(AuthorizationEntry entry, String read, String write, String admin)
            throws Exception {
        entry.setRead(read);
        entry.setWrite(write);
        entry.setAdmin(admin);
    }

    /** A queue that a test can fill. */
    private static PolicyMap policies() {
        PolicyEntry small = new PolicyEntry();
        small.setQueue("small.>");
        small.setMemoryLimit(64 << 10);
        PolicyMap policies = new PolicyMap();
        policies.setPolicyEntries(List.of(small));
        return policies;
    }

    private static SslContext tls(String file) throws Exception {
        char[] password = "tributary".toCharArray();
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (FileInputStream in = new FileInputStream(file)) {
            store.load(in, password);
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, password);
        return new SslContext(keys.getKeyManagers(), null, null);
    }
}
