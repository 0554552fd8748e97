import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import org.codelibs.opensearch.runner.node.OpenSearchRunnerNode;
import org.opensearch.common.settings.Settings;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.plugins.Plugin;

/**
 * One OpenSearch node on loopback, without security: {@code Node HOME PORT}, where HOME/config exists; with PORT 0 the
 * system chooses one. The port is written to HOME/port when it answers. It ends when its standard input does, so that
 * it outlives nobody who has started it.
 */
public final class Node {
    private static final List<String> MODULES = List.of(
        "transport.Netty4", "analysis.common.CommonAnalysis", "painless.Painless", "index.reindex.Reindex");

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]);
        Settings settings = Settings.builder()
            .put("path.home", home.toString())
            .put("cluster.name", "panorama-test")
            .put("node.name", "only")
            .put("node.processors", 2)
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", args[1])
            .put("transport.port", "0")
            .put("transport.type", "netty4")
            .put("http.type", "netty4")
            .put("action.destructive_requires_name", false)
            // else a disk that is nearly full, as those of test machines are, makes indices that only can be read
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        var node = new OpenSearchRunnerNode(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), home.resolve("config"), () -> "only"),
            MODULES.stream().map(Node::module).toList());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        tell(home, node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress().getPort());
        while (System.in.read() >= 0) {
            // nothing is said to it
        }
        System.exit(0);
    }

    /** A module that every distribution has; OpenSearch 3 has other names for their classes than OpenSearch 2. */
    private static Class<? extends Plugin> module(String name) {
        for (String end : List.of("ModulePlugin", "Plugin")) {
            try {
                return Class.forName("org.opensearch." + name + end).asSubclass(Plugin.class);
            } catch (ClassNotFoundException next) {
                continue;
            }
        }
        throw new IllegalStateException("no module " + name);
    }

    private static void tell(Path home, int port) throws Exception {
        Path beside = Files.writeString(home.resolve("port.new"), Integer.toString(port));
        Files.move(beside, home.resolve("port"), StandardCopyOption.ATOMIC_MOVE);
    }

    private static void close(OpenSearchRunnerNode node) {
        try {
            node.close();
        } catch (Exception error) {
            error.printStackTrace();
        }
    }
}
