// A round trip with kafkajs: produces with each codec, consumes in a group whose second member joins
// half way, and checks that every record comes back.
//
// usage: node round_trip.js BOOTSTRAP TOPIC RECORDS
const path = require("path");
const modules = path.join(process.env.OTTLA_NODE_MODULES, "node_modules");
const load = (name) => require(path.join(modules, name));
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = load("kafkajs");
const lz4 = load("lz4-napi");

CompressionCodecs[CompressionTypes.Snappy] = load("kafkajs-snappy");
const zstd = new Promise((done) => load("zstd-codec").ZstdCodec.run((codec) => done(new codec.Simple())));
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from((await zstd).compress(encoder.buffer, 3)),
  decompress: async (buffer) => Buffer.from((await zstd).decompress(buffer)),
});
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => Buffer.from(lz4.compressFrameSync(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(lz4.decompressFrameSync(buffer)),
});

const [bootstrap, topic, count] = process.argv.slice(2);
const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD };
// A busy machine may answer late.
const kafka = new Kafka({ clientId: "kafkajs", brokers: [bootstrap], logLevel: logLevel.ERROR,
  connectionTimeout: 60000, authenticationTimeout: 60000, requestTimeout: 60000,
  retry: { retries: 50, maxRetryTime: 5000 } });

async function main() {
  const expected = new Set();
  const producer = kafka.producer();
  await producer.connect();
  for (const [name, compression] of Object.entries(codecs)) {
    const messages = Array.from({ length: Number(count) }, (_, i) => ({ key: `${name}-${i}`, value: `${name}-${i}` }));
    messages.forEach((m) => expected.add(m.value));
    await producer.send({ topic, compression, messages });
  }
  await producer.disconnect();

  const seen = new Set();
  let failure;
  const join = async () => {
    const consumer = kafka.consumer({ groupId: `kafkajs-${topic}`, sessionTimeout: 30000, maxWaitTimeInMs: 200 });
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) => {
        const value = message.value.toString();
        if (!expected.has(value)) failure = `a record that nobody sent: ${value}`;
        seen.add(value);
      },
    });
    return consumer;
  };
  const members = [await join()];
  const end = Date.now() + 180000;
  while (!failure && seen.size < expected.size && Date.now() < end) {
    if (seen.size > 0 && members.length === 1) members.push(await join());
    await new Promise((done) => setTimeout(done, 50));
  }
  for (const consumer of members) await consumer.disconnect();
  if (failure || seen.size < expected.size) throw new Error(failure || `${seen.size} of ${expected.size} records came back`);
  console.log(`${seen.size} records`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
