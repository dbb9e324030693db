//! The published crate of the agent protocol in both roles, for tests:
//!
//!   zentinel-peer agent ENDPOINT                  its agent server, with the rules of `sharingbus agent`
//!   zentinel-peer pool ENDPOINT [flags]           its pool against an agent that listens there
//!   zentinel-peer reverse PATH AGENTS [flags]     its pool against agents that dial in there
//!   zentinel-peer bench ENDPOINT [flags]          its pool asking about request headers and nothing else, timed
//!
//! ENDPOINT is `http://HOST:PORT` or the path of a Unix socket. Flags of the pools: --requests N --concurrency C
//! --connections K; of `bench` also --warm-up N, requests ahead of those that count. Pools print one JSON object: requests,
//! blocked, wrong, errors, connections, rps; `bench` prints requests, wrong, errors, rps, p50_us, p99_us.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use zentinel_agent_protocol::v2::{
    AgentCapabilities, AgentHandlerV2, AgentPool, AgentPoolConfig, GrpcAgentServerV2,
    ReverseConnectionConfig, ReverseConnectionListener, UdsAgentServerV2,
};
use zentinel_agent_protocol::{
    AgentResponse, Decision, HeaderOp, RequestBodyChunkEvent, RequestHeadersEvent, RequestMetadata,
    ResponseHeadersEvent,
};

struct DemoAgent;

#[async_trait::async_trait]
impl AgentHandlerV2 for DemoAgent {
    fn capabilities(&self) -> AgentCapabilities {
        AgentCapabilities::new("zentinel-peer", "zentinel-peer", "0.6.45")
    }

    async fn on_request_headers(&self, event: RequestHeadersEvent) -> AgentResponse {
        if event.headers.keys().any(|name| name.eq_ignore_ascii_case("x-malicious")) {
            return AgentResponse::block(403, Some("blocked".into()));
        }
        AgentResponse::default_allow().add_request_header(HeaderOp::Set {
            name: "x-inspected".into(),
            value: "true".into(),
        })
    }

    async fn on_request_body_chunk(&self, event: RequestBodyChunkEvent) -> AgentResponse {
        let data = base64::engine::general_purpose::STANDARD.decode(&event.data).unwrap_or_default();
        if data.windows(6).any(|window| window == b"attack") {
            return AgentResponse::block(400, Some("blocked".into()));
        }
        AgentResponse::default_allow()
    }

    async fn on_response_headers(&self, _event: ResponseHeadersEvent) -> AgentResponse {
        let mut response = AgentResponse::default_allow();
        response.response_headers.push(HeaderOp::Set { name: "x-agent".into(), value: "sharingbus".into() });
        response
    }
}

struct Flags {
    requests: u64,
    concurrency: u64,
    connections: usize,
    warm_up: u64,
}

impl Flags {
    fn parse(arguments: &[String]) -> Flags {
        let value = |name: &str, default: u64| {
            let at = arguments.iter().position(|argument| argument == name);
            at.map_or(default, |at| arguments[at + 1].parse().expect(name))
        };
        Flags {
            requests: value("--requests", 1000),
            concurrency: value("--concurrency", 64),
            connections: value("--connections", 4) as usize,
            warm_up: value("--warm-up", 0),
        }
    }

    fn pool_config(&self) -> AgentPoolConfig {
        AgentPoolConfig {
            connections_per_agent: self.connections,
            max_concurrent_per_connection: 1000,
            ..Default::default()
        }
    }
}

#[derive(Default)]
struct Counts {
    blocked: AtomicU64,
    wrong: AtomicU64,
    errors: AtomicU64,
}

fn request_headers(id: &str, malicious: bool) -> RequestHeadersEvent {
    let mut headers = HashMap::from([
        ("host".to_string(), vec!["shop.example".to_string()]),
        ("cookie".to_string(), vec!["a=1".to_string(), "b=\"2\"".to_string()]),
    ]);
    if malicious {
        headers.insert("x-malicious".into(), vec!["1".into()]);
    }
    RequestHeadersEvent {
        metadata: RequestMetadata {
            correlation_id: id.into(),
            request_id: format!("r-{id}"),
            client_ip: "192.0.2.1".into(),
            client_port: 4711,
            server_name: Some("shop.example".into()),
            protocol: "HTTP/1.1".into(),
            tls_version: None,
            tls_cipher: None,
            route_id: Some("route".into()),
            upstream_id: None,
            timestamp: "2026-01-01T00:00:00Z".into(),
            traceparent: None,
        },
        method: "GET".into(),
        uri: "/".into(),
        headers,
    }
}

fn is_block(response: &AgentResponse, expected: u16) -> bool {
    matches!(response.decision, Decision::Block { status, .. } if status == expected)
}

fn sets(operations: &[HeaderOp], expected: &str) -> bool {
    operations.iter().any(|operation| matches!(operation, HeaderOp::Set { name, .. } if name == expected))
}

/// The answer belongs to the request: Unix sockets and reverse connections carry the id in the audit data.
fn is_of(response: &AgentResponse, id: &str) -> bool {
    response.audit.custom.get("correlation_id").map_or(true, |found| found == id)
}

/// One request by the rules of `sharingbus pool`.
async fn ask(pool: &AgentPool, agent: &str, index: u64, counts: &Counts) {
    let id = format!("request-{index}");
    let id = id.as_str();
    let malicious = index % 10 == 3;
    let headers = pool.send_request_headers(agent, id, &request_headers(id, malicious)).await;
    let Ok(headers) = headers else {
        counts.errors.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let mut right = is_of(&headers, id);
    if malicious {
        counts.blocked.fetch_add(1, Ordering::Relaxed);
        right &= is_block(&headers, 403);
    } else {
        right &= matches!(headers.decision, Decision::Allow) && sets(&headers.request_headers, "x-inspected");
        if index % 5 == 0 {
            right &= ask_chunk(pool, agent, id, index % 20 == 0, counts).await;
        }
        right &= ask_response(pool, agent, id, counts).await;
    }
    pool.clear_correlation_affinity(id);
    if !right {
        counts.wrong.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask_chunk(pool: &AgentPool, agent: &str, id: &str, attack: bool, counts: &Counts) -> bool {
    let body: &[u8] = if attack { b"\x00 an attack \xff" } else { b"\x00 harmless \xff" };
    let event = RequestBodyChunkEvent {
        correlation_id: id.into(),
        data: base64::engine::general_purpose::STANDARD.encode(body),
        is_last: true,
        total_size: Some(body.len()),
        chunk_index: 0,
        bytes_received: body.len(),
    };
    let Ok(response) = pool.send_request_body_chunk(agent, id, &event).await else {
        counts.errors.fetch_add(1, Ordering::Relaxed);
        return true;
    };
    if !attack {
        return is_of(&response, id) && matches!(response.decision, Decision::Allow);
    }
    counts.blocked.fetch_add(1, Ordering::Relaxed);
    is_of(&response, id) && is_block(&response, 400)
}

async fn ask_response(pool: &AgentPool, agent: &str, id: &str, counts: &Counts) -> bool {
    let event = ResponseHeadersEvent { correlation_id: id.into(), status: 200, headers: HashMap::new() };
    let Ok(response) = pool.send_response_headers(agent, id, &event).await else {
        counts.errors.fetch_add(1, Ordering::Relaxed);
        return true;
    };
    is_of(&response, id) && sets(&response.response_headers, "x-agent")
}

async fn drive(pool: Arc<AgentPool>, agent: String, flags: Flags) {
    let counts = Arc::new(Counts::default());
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..flags.concurrency {
        let (pool, agent, counts, next) = (pool.clone(), agent.clone(), counts.clone(), next.clone());
        let requests = flags.requests;
        workers.push(tokio::spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= requests {
                    return;
                }
                ask(&pool, &agent, index, &counts).await;
            }
        }));
    }
    for worker in workers {
        worker.await.expect("a worker panicked");
    }
    let seconds = began.elapsed().as_secs_f64();
    let stats = pool.agent_stats(&agent).await;
    println!(
        "{}",
        serde_json::json!({
            "requests": flags.requests,
            "blocked": counts.blocked.load(Ordering::Relaxed),
            "wrong": counts.wrong.load(Ordering::Relaxed),
            "errors": counts.errors.load(Ordering::Relaxed),
            "connections": stats.map_or(0, |stats| stats.active_connections),
            "rps": flags.requests as f64 / seconds,
        })
    );
}

async fn run_pool(endpoint: &str, flags: Flags) {
    let pool = Arc::new(AgentPool::with_config(flags.pool_config()));
    pool.add_agent("agent", endpoint).await.expect("add_agent");
    drive(pool.clone(), "agent".into(), flags).await;
    let _ = pool.shutdown().await;
}

async fn run_reverse(path: &str, flags: Flags) {
    let pool = Arc::new(AgentPool::with_config(flags.pool_config()));
    let listener = ReverseConnectionListener::bind_uds(path, ReverseConnectionConfig::default()).await.expect("bind");
    println!("listening");
    let mut agent = String::new();
    for _ in 0..flags.connections {
        agent = tokio::time::timeout(Duration::from_secs(60), listener.accept_one(&pool))
            .await
            .expect("nobody dialled in")
            .expect("accept_one");
    }
    drive(pool.clone(), agent, flags).await;
    let _ = pool.shutdown().await;
}

/// The request of `bench/agents/load.cpp`.
fn bench_headers(id: &str, malicious: bool) -> RequestHeadersEvent {
    let mut event = request_headers(id, malicious);
    event.metadata.request_id = id.into();
    event.metadata.client_ip = "192.0.2.7".into();
    event.metadata.client_port = 40_000;
    event.metadata.server_name = None;
    event.metadata.route_id = None;
    event.metadata.timestamp = "2023-11-14T22:13:20.000Z".into();
    event.uri = "/index.html".into();
    event.headers.remove("cookie");
    event.headers.insert("host".into(), vec!["example.test".into()]);
    event.headers.insert("user-agent".into(), vec!["bench".into()]);
    event.headers.insert("accept".into(), vec!["*/*".into()]);
    event
}

/// Asks `flags.requests` times; answers what each took, in ns, and counts into `counts`.
async fn measure(pool: &Arc<AgentPool>, from: u64, requests: u64, concurrency: u64, counts: &Arc<Counts>) -> Vec<u64> {
    let next = Arc::new(AtomicU64::new(from));
    let mut workers = Vec::new();
    for _ in 0..concurrency {
        let (pool, counts, next) = (pool.clone(), counts.clone(), next.clone());
        workers.push(tokio::spawn(async move {
            let mut took = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= from + requests {
                    return took;
                }
                let id = format!("request-{index}");
                let malicious = index % 10 == 3;
                let began = Instant::now();
                let answer = pool.send_request_headers("agent", &id, &bench_headers(&id, malicious)).await;
                took.push(began.elapsed().as_nanos() as u64);
                pool.clear_correlation_affinity(&id);
                let Ok(answer) = answer else {
                    counts.errors.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let right = if malicious {
                    is_block(&answer, 403)
                } else {
                    matches!(answer.decision, Decision::Allow) && sets(&answer.request_headers, "x-inspected")
                };
                if !right || !is_of(&answer, &id) {
                    counts.wrong.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    let mut took = Vec::new();
    for worker in workers {
        took.extend(worker.await.expect("a worker panicked"));
    }
    took
}

async fn run_bench(endpoint: &str, flags: Flags) {
    let pool = Arc::new(AgentPool::with_config(flags.pool_config()));
    pool.add_agent("agent", endpoint).await.expect("add_agent");
    let counts = Arc::new(Counts::default());
    measure(&pool, 0, flags.warm_up, flags.concurrency, &counts).await;
    let began = Instant::now();
    let mut took = measure(&pool, flags.warm_up, flags.requests, flags.concurrency, &counts).await;
    let seconds = began.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| took[(share * (took.len() - 1) as f64) as usize] as f64 / 1000.0;
    println!(
        "{}",
        serde_json::json!({
            "requests": took.len(),
            "wrong": counts.wrong.load(Ordering::Relaxed),
            "errors": counts.errors.load(Ordering::Relaxed),
            "rps": took.len() as f64 / seconds,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
        })
    );
    let _ = pool.shutdown().await;
}

async fn run_agent(endpoint: &str) {
    if let Some(address) = endpoint.strip_prefix("http://") {
        let address: SocketAddr = address.parse().expect("HOST:PORT");
        GrpcAgentServerV2::new("zentinel-peer", Box::new(DemoAgent)).run(address).await.expect("serve");
    } else {
        UdsAgentServerV2::new("zentinel-peer", endpoint, Box::new(DemoAgent)).run().await.expect("serve");
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["agent", endpoint] => run_agent(endpoint).await,
        ["pool", endpoint, ..] => run_pool(endpoint, Flags::parse(&arguments)).await,
        ["bench", endpoint, ..] => run_bench(endpoint, Flags::parse(&arguments)).await,
        ["reverse", path, ..] => run_reverse(path, Flags::parse(&arguments)).await,
        _ => {
            eprintln!("zentinel-peer agent ENDPOINT | pool ENDPOINT [flags] | reverse PATH [flags] | bench ENDPOINT [flags]");
            std::process::exit(2);
        }
    }
}
