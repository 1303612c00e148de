import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main methods of Kafka's own tools in one JVM, one after the other, because starting a
 * JVM costs more than most of the tools do.
 *
 * A line on standard input is a request: words separated by blanks, each percent-encoded: the class,
 * the text of standard input, then the arguments. The answer is "exit CODE OUT ERR" and a newline,
 * then OUT bytes of standard output and ERR bytes of standard error. The tool's end is its return,
 * its exit (caught), or an exception (code 1).
 */
public final class ToolServer {
    private static final class ExitCalled extends Error {
        final int code;

        ExitCalled(int code) {
            super(null, null, false, false);
            this.code = code;
        }
    }

    public static void main(String[] ignored) throws Exception {
        PrintStream answers = System.out;
        InputStream requests = System.in;
        Exit.Procedure leave = (code, message) -> {
            throw new ExitCalled(code);
        };
        Exit.setExitProcedure(leave);
        Exit.setHaltProcedure(leave);
        BufferedReader lines = new BufferedReader(new InputStreamReader(requests, StandardCharsets.UTF_8));
        String line;
        while ((line = lines.readLine()) != null) {
            String[] words = Arrays.stream(line.split(" ", -1)).map(ToolServer::decode).toArray(String[]::new);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            ByteArrayOutputStream err = new ByteArrayOutputStream();
            System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
            PrintStream errors = System.err;
            System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
            System.setIn(new ByteArrayInputStream(words[1].getBytes(StandardCharsets.UTF_8)));
            int code = run(words[0], Arrays.copyOfRange(words, 2, words.length));
            System.out.flush();
            System.err.flush();
            System.setErr(errors);
            byte[] outBytes = out.toByteArray();
            byte[] errBytes = err.toByteArray();
            answers.print("exit " + code + " " + outBytes.length + " " + errBytes.length + "\n");
            answers.write(outBytes);
            answers.write(errBytes);
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static int run(String name, String[] arguments) {
        int[] code = {0};
        Thread thread = new Thread(() -> {
            try {
                Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) arguments);
            } catch (java.lang.reflect.InvocationTargetException e) {
                if (e.getCause() instanceof ExitCalled) {
                    code[0] = ((ExitCalled) e.getCause()).code;
                } else {
                    e.getCause().printStackTrace();
                    code[0] = 1;
                }
            } catch (ReflectiveOperationException e) {
                e.printStackTrace();
                code[0] = 127;
            }
        }, "tool");
        thread.setUncaughtExceptionHandler((t, e) -> code[0] = e instanceof ExitCalled ? ((ExitCalled) e).code : 1);
        thread.start();
        try {
            thread.join();
        } catch (InterruptedException e) {
            code[0] = 130;
        }
        return code[0];
    }

    private static String decode(String word) {
        return URLDecoder.decode(word, StandardCharsets.UTF_8);
    }
}
