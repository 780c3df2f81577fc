import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Runs a file of Flink SQL, as Flink's own command line does: Sql FILE
 *
 * <p>A statement ends with a semicolon at the end of a line. `SET 'key' = 'value'` sets an option; an INSERT starts a job.
 */
public final class Sql {
    private static final Pattern SET = Pattern.compile("(?i)\\s*SET\\s+'([^']*)'\\s*=\\s*'([^']*)'\\s*");

    public static void main(String[] arguments) throws Exception {
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        String text = Files.readString(Path.of(arguments[0])).replaceAll("(?m)^\\s*--.*$", "");
        for (String statement : text.split("(?m);\\s*$")) {
            Matcher option = SET.matcher(statement);
            if (option.matches()) {
                tables.getConfig().set(option.group(1), option.group(2));
            } else if (!statement.isBlank()) {
                tables.executeSql(statement);
            }
        }
    }
}
