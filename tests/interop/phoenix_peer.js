// A connector on the official Phoenix client. Joins the lobby, registers, answers each ExecuteRequest with its payload,
// and leaves when told to by SIGTERM. Prints what happens as JSON lines.
// Usage: node phoenix_peer.js HOST:PORT INSTANCE; NODE_PATH names the folder with phoenix and ws.
'use strict'

const {Socket} = require('phoenix')
const WebSocket = require('ws')

const [address, instance] = process.argv.slice(2)
const REGISTER_REQUEST = 1, REGISTER_RESPONSE = 2, EXECUTE_REQUEST = 3, EXECUTE_RESPONSE = 4, HEARTBEAT_REQUEST = 6
const HEARTBEAT_RESPONSE = 7
const JSON_ENCODING = 1

function emit(event, details = {}) {
  process.stdout.write(JSON.stringify({event, ...details}) + '\n')
}

// --- Protobuf: fields of strings, bytes and small numbers ---

function varint(value) {
  const out = []
  for (; value > 127; value = Math.floor(value / 128)) out.push(value % 128 + 128)
  return Buffer.from([...out, value])
}

function field(number, value) {
  if (typeof value === 'number' || typeof value === 'boolean')
    return Buffer.concat([varint(number * 8), varint(Number(value))])
  const bytes = Buffer.from(value)
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes])
}

function message(fields) {
  return Buffer.concat(Object.entries(fields).map(([number, value]) => field(Number(number), value)))
}

function parse(bytes) {
  let at = 0
  const next = () => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++]
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  const fields = {}
  while (at < bytes.length) {
    const tag = next()
    if (tag % 8 === 0) fields[Math.floor(tag / 8)] = next()
    else if (tag % 8 === 2) {
      const size = next()
      fields[Math.floor(tag / 8)] = bytes.subarray(at, at + size)
      at += size
    } else throw new Error(`wire type ${tag % 8}`)
  }
  return fields
}

// --- the connector ---

const socket = new Socket(`ws://${address}/socket/connector`, {transport: WebSocket, heartbeatIntervalMs: 200})
socket.onError(error => emit('socket_error', {text: String(error.message ?? error)}))
socket.onClose(event => emit('socket_closed', {code: event.code}))
socket.onMessage(({topic, event, payload}) => {
  if (topic === 'phoenix' && event === 'phx_reply') emit('heartbeat', {status: payload.status})
})
const channel = socket.channel('connector:lobby', {})

function send(number, fields) {
  channel.push('proto', {data: field(number, message(fields)).toString('base64')})
}

channel.onError(reason => emit('channel_error', {reason}))
channel.on('proto', ({data}) => {
  const [[number, body]] = Object.entries(parse(Buffer.from(data, 'base64')))
  const fields = parse(body)
  switch (Number(number)) {
    case REGISTER_RESPONSE:
      emit('registered', {success: fields[1] === 1, arn: String(fields[4]), error: String(fields[3] ?? '')})
      break
    case EXECUTE_REQUEST:
      send(EXECUTE_RESPONSE, {1: fields[1], 2: true, 3: fields[2], 4: JSON_ENCODING})
      emit('executed', {request_id: String(fields[1]), payload: String(fields[2])})
      break
    case HEARTBEAT_REQUEST:
      send(HEARTBEAT_RESPONSE, {1: fields[1] ?? '', 2: fields[2] ?? 0})
      emit('heartbeat_request')
      break
    default:
      emit('ignored', {number})
  }
})

socket.connect()
channel.join()
  .receive('ok', response => {
    emit('joined', {response})
    const capabilities = message({1: 'echo', 2: '1.0.0', 3: Buffer.from([JSON_ENCODING])})
    send(REGISTER_REQUEST, {1: 'acme', 2: 'echo', 3: instance, 4: capabilities})
  })
  .receive('error', response => emit('join_failed', {response}))
  .receive('timeout', () => emit('join_timed_out'))

process.on('SIGTERM', () => {
  channel.leave().receive('ok', () => {
    emit('left')
    socket.disconnect(() => process.exit(0))
  })
})
