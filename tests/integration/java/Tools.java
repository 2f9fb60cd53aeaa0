/* Kafka's command-line tools, many runs in one virtual machine, as starting one takes longer than what they do.
 *
 * Reads, a line each and in base64: the tool's class, its standard input, how many arguments, the arguments. Answers with one line: exit
 * code, standard output, standard error. A tool that would end the process ends its run; what it wanted done at the process's end is
 * done at the end of its run. */

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

public final class Tools {
    /* Scala keeps the stream that it finds first, so the streams stay and what is behind them changes. */
    static final class Switch extends OutputStream {
        volatile ByteArrayOutputStream target = new ByteArrayOutputStream();

        @Override
        public void write(int b) {
            target.write(b);
        }

        @Override
        public void write(byte[] b, int offset, int size) {
            target.write(b, offset, size);
        }
    }

    static final class Ended extends RuntimeException {
        Ended() {
            super(null, null, false, false);
        }
    }

    private static Integer code; // that the tool ended with first: some take the end for an error, and end again
    private static final List<Runnable> AT_THE_END = new ArrayList<>();

    private Tools() {
    }

    private static byte[] read(BufferedReader in) throws Exception {
        String line = in.readLine();
        return line == null ? null : Base64.getDecoder().decode(line);
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static void end(int with, String message) {
        code = code != null ? code : with;
        throw new Ended();
    }

    private static int run(String tool, String[] args) throws Exception {
        code = null;
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (InvocationTargetException error) {
            if (!(error.getCause() instanceof Ended)) {
                error.getCause().printStackTrace();
                code = code != null ? code : 1;
            }
        }
        for (Runnable end : AT_THE_END) {
            end.run();
        }
        AT_THE_END.clear();
        return code != null ? code : 0;
    }

    public static void main(String[] ignored) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        PrintStream answers = System.out;
        Switch out = new Switch();
        Switch err = new Switch();
        System.setOut(new PrintStream(out, true, "UTF-8"));
        System.setErr(new PrintStream(err, true, "UTF-8"));
        Exit.setExitProcedure(Tools::end);
        Exit.setHaltProcedure(Tools::end);
        Exit.setShutdownHookAdder((name, hook) -> AT_THE_END.add(hook));
        for (byte[] tool = read(in); tool != null; tool = read(in)) {
            System.setIn(new ByteArrayInputStream(read(in)));
            String[] args = new String[Integer.parseInt(text(read(in)))];
            for (int i = 0; i < args.length; i++) {
                args[i] = text(read(in));
            }
            out.target = new ByteArrayOutputStream();
            err.target = new ByteArrayOutputStream();
            int ended = run(text(tool), args);
            System.out.flush();
            System.err.flush();
            Base64.Encoder encoder = Base64.getEncoder();
            answers.println(ended + " " + encoder.encodeToString(out.target.toByteArray()) + " " + encoder.encodeToString(err.target.toByteArray()));
        }
    }
}
