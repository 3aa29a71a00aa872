import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** The JDK's own HTTP server: Server HOST PORT. */
class Server {
    public static void main(String[] args) throws IOException {
        byte[] answer = String.format("pid=%d slot=%s gen=%s%n", ProcessHandle.current().pid(),
                System.getenv("PREFORK_SLOT"), System.getenv("PREFORK_GENERATION"))
                .getBytes(StandardCharsets.US_ASCII);
        InetAddress host = InetAddress.getByName(args[0]);
        HttpServer server =
                HttpServer.create(new InetSocketAddress(host, Integer.parseInt(args[1])), 0);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
    }
}
