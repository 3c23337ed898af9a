// A js-libp2p node in our gossip mesh. node mesh.mjs ADDRESS TOPIC: a line of JSON with its id; then for each line of JSON
// on the standard input, {"do": "heard"} or {"do": "ask", "protocol": …, "request": hex}, one line with what came of it.
import readline from 'node:readline'
import { createLibp2p } from 'libp2p'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { multiaddr } from '@multiformats/multiaddr'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'

const [address, topic] = process.argv.slice(2)
const node = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), pubsub: gossipsub({ allowPublishToZeroTopicPeers: true }) }
})
const heard = []
node.services.pubsub.addEventListener('message', event => heard.push(Buffer.from(event.detail.data).toString('hex')))
node.services.pubsub.subscribe(topic)
await node.dial(multiaddr(address))

// One request and one reply: status byte, length as u64, body.
async function ask (protocol, request) {
  const stream = await node.dialProtocol(multiaddr(address), protocol)
  const head = Buffer.alloc(9)
  head.writeBigUInt64BE(BigInt(request.length), 1)
  stream.send(Buffer.concat([head, request]))
  let reply = Buffer.alloc(0)
  for await (const piece of stream) {
    reply = Buffer.concat([reply, piece.subarray()])
    if (reply.length >= 9 && reply.length === 9 + Number(reply.readBigUInt64BE(1))) break
  }
  await stream.close()
  return { status: reply[0], body: reply.subarray(9).toString('hex') }
}

console.log(JSON.stringify({ id: node.peerId.toString() }))
for await (const line of readline.createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  const result = order.do === 'heard' ? heard : await ask(order.protocol, Buffer.from(order.request, 'hex'))
  console.log(JSON.stringify({ result }))
}
