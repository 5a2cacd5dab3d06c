import jakarta.mail.Flags;
import jakarta.mail.Folder;
import jakarta.mail.Message;
import jakarta.mail.Session;
import jakarta.mail.Store;
import jakarta.mail.Transport;
import jakarta.mail.internet.InternetAddress;
import jakarta.mail.internet.MimeMessage;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;

/**
 * An application that uses Jakarta Mail.
 *
 * Mail send PORT SENDER RECIPIENT < message
 * Mail collect PORT USER PASSWORD FOLDER
 */
public class Mail {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("send")) {
            send(args[1], args[2], args[3]);
        } else {
            collect(Integer.parseInt(args[1]), args[2], args[3], Path.of(args[4]));
        }
    }

    private static void send(String port, String sender, String recipient) throws Exception {
        Properties properties = new Properties();
        properties.put("mail.smtp.host", "127.0.0.1");
        properties.put("mail.smtp.port", port);
        properties.put("mail.smtp.from", sender);
        properties.put("mail.smtp.allow8bitmime", "true");
        Session session = Session.getInstance(properties);
        try (Transport transport = session.getTransport("smtp")) {
            transport.connect();
            MimeMessage message = new MimeMessage(session, System.in);
            transport.sendMessage(message, new InternetAddress[] {new InternetAddress(recipient)});
        }
    }

    private static void collect(int port, String user, String password, Path folder) throws Exception {
        Session session = Session.getInstance(new Properties());
        try (Store store = session.getStore("pop3")) {
            store.connect("127.0.0.1", port, user, password);
            try (Folder inbox = store.getFolder("INBOX")) {
                inbox.open(Folder.READ_WRITE);
                for (Message message : inbox.getMessages()) {
                    try (OutputStream file = Files.newOutputStream(folder.resolve(message.getMessageNumber() + ""))) {
                        message.writeTo(file);
                    }
                    message.setFlag(Flags.Flag.DELETED, true);
                }
            }
        }
    }
}
