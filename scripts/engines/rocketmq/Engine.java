import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.namesrv.NamesrvStartup;
import org.apache.rocketmq.proxy.ProxyStartup;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Name server, broker and proxy in one process, since each process of Java takes seconds to start. For the same reason commands of
 * RocketMQ's own mqadmin run here: one argument a line, ended by an empty line, to the admin port; what the command prints comes back.
 * Beside these, "send TOPIC BODY..." sends messages in order by RocketMQ's classic client, and prints "sent".
 *
 * <p>Arguments: the folder with namesrv.conf, broker.conf and proxy.json, and the admin port.
 */
public final class Engine {
    public static void main(String[] arguments) throws Exception {
        String folder = arguments[0];
        NamesrvStartup.main0(new String[] {"-c", folder + "/namesrv.conf"});
        String[] proxy = {"-pm", "local", "-bc", folder + "/broker.conf", "-pc", folder + "/proxy.json"};
        ProxyStartup.main(proxy);
        InetAddress loopback = InetAddress.getLoopbackAddress();
        try (ServerSocket listener = new ServerSocket(Integer.parseInt(arguments[1]), 16, loopback)) {
            while (true) {
                try (Socket client = listener.accept()) {
                    client.setSoTimeout(10_000);
                    answer(client);
                } catch (Exception error) {
                    System.err.println("a command was not run: " + error);
                }
            }
        }
    }

    private static void answer(Socket client) throws Exception {
        InputStreamReader bytes = new InputStreamReader(client.getInputStream(), StandardCharsets.UTF_8);
        BufferedReader lines = new BufferedReader(bytes);
        List<String> command = new ArrayList<>();
        for (String line = lines.readLine(); line != null && !line.isEmpty(); line = lines.readLine()) {
            command.add(line);
        }
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream out = System.out;
        PrintStream err = System.err;
        try (PrintStream into = new PrintStream(printed, true, StandardCharsets.UTF_8)) {
            System.setOut(into);
            System.setErr(into);
            run(command);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        client.getOutputStream().write(printed.toByteArray());
    }

    private static void run(List<String> command) {
        AclClientRPCHook user = new AclClientRPCHook(new SessionCredentials("tributary", "tributary"));
        if (command.size() < 2 || !command.get(0).equals("send")) {
            MQAdminStartup.main0(command.toArray(new String[0]), user);
            return;
        }
        DefaultMQProducer producer = new DefaultMQProducer("engine", user);
        try {
            producer.start();
            for (String body : command.subList(2, command.size())) {
                Message message = new Message(command.get(1), body.getBytes(StandardCharsets.UTF_8));
                MessageAccessor.putProperty(message, MessageConst.PROPERTY_SHARDING_KEY, "engine");
                SendResult sent = producer.send(message, (queues, any, key) -> queues.get(0), null);
                if (sent.getSendStatus() != SendStatus.SEND_OK) {
                    throw new IllegalStateException("not kept: " + sent);
                }
            }
            System.out.println("sent");
        } catch (Exception error) {
            error.printStackTrace();
        } finally {
            producer.shutdown();
        }
    }
}
