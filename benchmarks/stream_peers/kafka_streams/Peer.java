// Peer (c): Kafka Streams with onnxruntime.
//
//     java -cp JARS Peer SERVERS GROUP DOCUMENTS PREDICTIONS QUERIES VERSION-FOLDER
//
// Its choices: two stream threads on two cores, each with its own session; a record at a time, as Kafka Streams hands
// them over; at least once; its producer batches (100 ms, 512 KiB, no compression). The features are askance's, computed
// here (XXH3 by hash4j), so that the very same ONNX file gives the very same labels. It runs from its source: Java 17.

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.dynatrace.hash4j.hashing.Hasher64;
import com.dynatrace.hash4j.hashing.Hashing;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.RecordMetadata;

public final class Peer {
  static final ObjectMapper JSON = new ObjectMapper();
  static final long GAMMA = 0x9E3779B97F4A7C15L;
  static final double SHARE = 0.05;

  record Answer(ObjectNode prediction, String text, boolean accepted) {}

  static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }

  static final class Classifier extends ContextualFixedKeyProcessor<byte[], byte[], Answer> {
    private final Hasher64 xxh3 = Hashing.xxh3_64();
    private final String[] labels;
    private final String version;
    private final double temperature;
    private final int bits;
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private double mean = 0.5;

    Classifier(File folder) {
      try {
        JsonNode manifest = JSON.readTree(new File(folder, "manifest.json"));
        labels = JSON.convertValue(manifest.get("labels"), String[].class);
        version = manifest.get("version").asText();
        temperature = manifest.get("temperature").asDouble();
        bits = manifest.get("featurizer").get("bits").asInt();
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        options.setIntraOpNumThreads(1);
        session = environment.createSession(new File(folder, "student.onnx").getPath(), options);
      } catch (IOException | OrtException exc) {
        throw new IllegalStateException(exc);
      }
    }

    @Override
    public void process(FixedKeyRecord<byte[], byte[]> record) {
      try {
        JsonNode document = JSON.readTree(record.value());
        String text = document.get("text").asText();
        context().forward(record.withValue(answer(document.get("id").asText(), text, context().recordMetadata().get())));
      } catch (IOException | OrtException exc) {
        throw new IllegalStateException(exc);
      }
    }

    private Answer answer(String id, String text, RecordMetadata where) throws OrtException {
      float[] logits = logits(text);
      int best = 0;
      for (int k = 1; k < logits.length; k++) {
        if (logits[k] > logits[best]) best = k;
      }
      double sum = 0.0;
      double weighted = 0.0;
      for (float logit : logits) {
        double z = (logit - logits[best]) / temperature;
        double e = Math.exp(z);
        sum += e;
        weighted += e * z;
      }
      double uncertainty = (Math.log(sum) - weighted / sum) / Math.log(logits.length);
      mean += 0.001 * (uncertainty - mean);
      float propensity = (float) Math.min(1.0, SHARE / mean * uncertainty);
      boolean accepted = uniform(where) < propensity;
      ObjectNode prediction = JSON.createObjectNode();
      prediction.put("id", id).put("label", labels[best]).put("confidence", 1.0 / sum);
      prediction.put("uncertainty", uncertainty).put("propensity", propensity).put("accepted", accepted);
      prediction.put("version", version).put("seed", 0).put("topic", where.topic());
      prediction.put("partition", where.partition()).put("offset", where.offset());
      return new Answer(prediction, text, accepted);
    }

    private double uniform(RecordMetadata where) {
      long topic = 0xcbf29ce484222325L;
      for (byte each : where.topic().getBytes(StandardCharsets.UTF_8)) {
        topic = (topic ^ (each & 0xff)) * 0x100000001b3L;
      }
      long state = mix(mix(mix(GAMMA) ^ topic) + where.partition() * GAMMA);
      return (mix(state + (where.offset() + 1) * GAMMA) >>> 11) * 0x1.0p-53;
    }

    /** Word 1-2-grams, hashed; padded to a power of two as askance pads them. */
    private float[] logits(String text) throws OrtException {
      String lower = text.toLowerCase(java.util.Locale.ROOT);
      int[] buckets = new int[lower.length() + 2];
      int count = 0;
      long previous = 0;
      int words = 0;
      int start = -1;
      for (int at = 0; at <= lower.length(); at++) {
        boolean inside = at < lower.length() && (Character.isLetterOrDigit(lower.charAt(at)) || lower.charAt(at) == '_');
        if (inside && start < 0) start = at;
        if (inside || start < 0) continue;
        long hash = xxh3.hashBytesToLong(lower.substring(start, at).getBytes(StandardCharsets.UTF_8));
        start = -1;
        buckets[count++] = (int) (hash >>> (64 - bits));
        if (words++ > 0) buckets[count++] = (int) (mix(previous * GAMMA + hash) >>> (64 - bits));
        previous = hash;
      }
      Arrays.sort(buckets, 0, count);
      int[] ids = new int[count];
      float[] weights = new float[count];
      int features = 0;
      double square = 0.0;
      for (int at = 0; at < count; ) {
        int end = at;
        while (end < count && buckets[end] == buckets[at]) end++;
        ids[features] = buckets[at];
        double weight = 1.0 + Math.log(end - at);
        weights[features++] = (float) weight;
        square += weight * weight;
        at = end;
      }
      for (int at = 0; at < features; at++) weights[at] /= (float) Math.sqrt(square);
      int width = Math.max(16, features < 2 ? 1 : Integer.highestOneBit(features - 1) << 1);
      ids = Arrays.copyOf(Arrays.copyOf(ids, features), width);
      weights = Arrays.copyOf(Arrays.copyOf(weights, features), width);
      long[] shape = {1, width};
      try (OnnxTensor first = OnnxTensor.createTensor(environment, IntBuffer.wrap(ids), shape);
          OnnxTensor second = OnnxTensor.createTensor(environment, FloatBuffer.wrap(weights), shape);
          OrtSession.Result result = session.run(Map.of("ids", first, "weights", second))) {
        return ((float[][]) result.get(0).getValue())[0];
      }
    }
  }

  static byte[] bytes(JsonNode node) {
    try {
      return JSON.writeValueAsBytes(node);
    } catch (IOException exc) {
      throw new IllegalStateException(exc);
    }
  }

  public static void main(String[] given) {
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given[0]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given[1]);
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, new File("state").getAbsolutePath());
    settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 512 * 1024);
    File folder = new File(given[5]);
    StreamsBuilder builder = new StreamsBuilder();
    KStream<byte[], Answer> answers =
        builder.stream(given[2], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .processValues(() -> new Classifier(folder));
    Produced<byte[], byte[]> asBytes = Produced.with(Serdes.ByteArray(), Serdes.ByteArray());
    answers.mapValues(answer -> bytes(answer.prediction())).to(given[3], asBytes);
    answers
        .filter((key, answer) -> answer.accepted())
        .mapValues(answer -> bytes(answer.prediction().deepCopy().put("text", answer.text())))
        .to(given[4], asBytes);
    KafkaStreams streams = new KafkaStreams(builder.build(), settings);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }
}
