import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main methods of Kafka's own tools in one JVM, one after the other, because starting a
 * JVM costs more than most of the tools do.
 *
 * A line on standard input is a request: words separated by blanks, each percent-encoded: the class,
 * the text of standard input, then the arguments. The answer is "exit CODE OUT ERR" and a newline,
 * then OUT bytes of standard output and ERR bytes of standard error. The tool's end is its return,
 * its exit (the thread that calls it never goes on, as in a JVM that ends), or an exception (code
 * 1); then the shutdown hooks that it added run, because some tools finish their work there. Needs
 * --add-opens java.base/java.lang=ALL-UNNAMED.
 */
public final class ToolServer {
    private static final long DEADLINE_SECONDS = 600;
    /** The code for a tool that did not end; nothing can run after it. */
    private static final int HUNG = 124;

    /** Where output goes at the moment; the streams themselves stay, for Scala keeps the first it sees. */
    private static final class Captured extends OutputStream {
        private ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        @Override
        public synchronized void write(int b) {
            bytes.write(b);
        }

        @Override
        public synchronized void write(byte[] from, int offset, int length) {
            bytes.write(from, offset, length);
        }

        synchronized byte[] take() {
            byte[] taken = bytes.toByteArray();
            bytes = new ByteArrayOutputStream();
            return taken;
        }
    }

    private static volatile CompletableFuture<Integer> end = new CompletableFuture<>();

    public static void main(String[] ignored) throws Exception {
        PrintStream answers = System.out;
        InputStream requests = System.in;
        Captured out = new Captured();
        Captured err = new Captured();
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        Exit.Procedure leave = (code, message) -> {
            end.complete(code);
            while (true) {
                try {
                    Thread.sleep(Long.MAX_VALUE);
                } catch (InterruptedException e) {
                    // Still no way back to a tool that has ended.
                }
            }
        };
        Exit.setExitProcedure(leave);
        Exit.setHaltProcedure(leave);
        BufferedReader lines = new BufferedReader(new InputStreamReader(requests, StandardCharsets.UTF_8));
        String line;
        int code = 0;
        while (code != HUNG && (line = lines.readLine()) != null) {
            String[] words = Arrays.stream(line.split(" ", -1)).map(ToolServer::decode).toArray(String[]::new);
            System.setIn(new ByteArrayInputStream(words[1].getBytes(StandardCharsets.UTF_8)));
            code = run(words[0], Arrays.copyOfRange(words, 2, words.length));
            System.out.flush();
            System.err.flush();
            byte[] outBytes = out.take();
            byte[] errBytes = err.take();
            answers.print("exit " + code + " " + outBytes.length + " " + errBytes.length + "\n");
            answers.write(outBytes);
            answers.write(errBytes);
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static int run(String name, String[] arguments) throws Exception {
        Set<Thread> others = Set.copyOf(shutdownHooks().keySet());
        CompletableFuture<Integer> ended = new CompletableFuture<>();
        end = ended;
        Thread thread = new Thread(() -> {
            try {
                Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) arguments);
                ended.complete(0);
            } catch (java.lang.reflect.InvocationTargetException e) {
                e.getCause().printStackTrace();
                ended.complete(1);
            } catch (ReflectiveOperationException e) {
                e.printStackTrace();
                ended.complete(127);
            }
        }, "tool");
        thread.setDaemon(true);
        thread.start();
        int code;
        try {
            code = ended.get(DEADLINE_SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            for (StackTraceElement element : thread.getStackTrace()) {
                System.err.println("not ended: " + element);
            }
            return HUNG;
        }
        List<Thread> added = new ArrayList<>(shutdownHooks().keySet());
        added.removeAll(others);
        for (Thread hook : added) {
            Runtime.getRuntime().removeShutdownHook(hook);
            hook.start();
        }
        for (Thread hook : added) {
            hook.join(TimeUnit.SECONDS.toMillis(DEADLINE_SECONDS));
        }
        return code;
    }

    @SuppressWarnings("unchecked")
    private static Map<Thread, Thread> shutdownHooks() throws ReflectiveOperationException {
        Field hooks = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
        hooks.setAccessible(true);
        return (Map<Thread, Thread>) hooks.get(null);
    }

    private static String decode(String word) {
        return URLDecoder.decode(word, StandardCharsets.UTF_8);
    }
}
