//! What the marker of a commit costs (decisions 20: less than 5 %). About time, so run by hand:
//! `cargo test -p juicefs-meta --lib the_marker -- --ignored --nocapture`
//!
//! It is the server's share: a client sees less, as most of its time goes to the network and to itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::server::Server;

const ROUNDS: usize = 60;
const PER_ROUND: usize = 400;

fn packed(commands: &[Vec<String>]) -> Vec<u8> {
    let mut pipeline = redis::pipe();
    for words in commands {
        pipeline.cmd(&words[0]).arg(&words[1..]);
    }
    pipeline.get_packed_pipeline()
}

fn words(line: String) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// One flush: sends and reads that many lines of reply.
fn flush(link: &mut TcpStream, request: &[u8], mut lines: usize) {
    link.write_all(request).unwrap();
    let mut reply = [0; 4096];
    while lines > 0 {
        let count = link.read(&mut reply).unwrap();
        assert!(count > 0 && reply[0] != b'-', "{}", String::from_utf8_lossy(&reply[..count]));
        lines = lines.checked_sub(reply[..count].iter().filter(|&&byte| byte == b'\n').count()).unwrap();
    }
}

/// One create as the engine sends it: requests with the lines of their replies.
fn create(client: usize, n: usize, has_marker: bool) -> [(Vec<u8>, usize); 2] {
    let record = "7".repeat(72);
    let marker = format!("Xop.0123456789abcdef.{client}");
    let watched = if has_marker {
        format!("WATCH {marker} i{client} d{client}")
    } else {
        format!("WATCH i{client} d{client}")
    };
    let read = packed(&[
        words(watched),
        words(format!("MGET i{client}")),
        words(format!("HGET d{client} absent-{n}")),
    ]);
    let mut write = vec![
        words("MULTI".to_owned()),
        words(format!("SET i{client}0{n} {record}")),
        words(format!("HSET d{client} file-{n} 123456789")),
        words(format!("SET i{client} {record}")),
        words("INCRBY usedSpace 4096".to_owned()),
        words("INCRBY totalInodes 1".to_owned()),
    ];
    let mut lines = 6 + 6;
    if has_marker {
        write.push(words(format!("SETRANGE {marker} 0 {n:016x}")));
        lines += 2;
    }
    write.push(words("EXEC".to_owned()));
    [(read, 5), (packed(&write), lines)]
}

/// How long one client takes for its creates; what it sends was made before.
fn run(port: u16, client: usize, creates: &[[(Vec<u8>, usize); 2]]) {
    let mut link = TcpStream::connect(("127.0.0.1", port)).unwrap();
    link.set_nodelay(true).unwrap();
    let setup = packed(&[words(format!("SET i{client} {}", "7".repeat(72)))]);
    flush(&mut link, &setup, 1);
    for (request, lines) in creates.iter().flatten() {
        flush(&mut link, request, *lines);
    }
}

/// CPU time of the server's one working thread, which is what a busy server runs out of; what else the machine
/// does hardly counts.
fn server_cpu(server: &Server) -> Duration {
    let pid = server.pid();
    let statistics = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

/// The server's work with the marker over its work without, each the best tenth of many short rounds.
fn measure(server: &Server, clients: usize) -> f64 {
    let requests = [false, true].map(|has_marker| {
        let of_client =
            |client| (0..PER_ROUND).map(move |n| create(client, n, has_marker)).collect::<Vec<_>>();
        (1..=clients).map(of_client).collect::<Vec<_>>()
    });
    let mut spent = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (requests, spent) in requests.iter().zip(&mut spent) {
            let before = server_cpu(server);
            std::thread::scope(|scope| {
                for (at, creates) in requests.iter().enumerate() {
                    scope.spawn(move || run(server.port, at + 1, creates));
                }
            });
            spent.push(server_cpu(server) - before);
        }
    }
    let [without, with] = spent.map(|mut rounds| {
        rounds.sort();
        rounds[ROUNDS / 10]
    });
    with.as_secs_f64() / without.as_secs_f64()
}

#[test]
#[ignore = "measures time on a quiet machine"]
fn the_marker_costs_less_than_five_percent() {
    for options in [&[][..], &["--appendonly", "yes", "--appendfsync", "everysec"]] {
        let server = Server::start_with(options);
        for clients in [1, 8] {
            let ratio = measure(&server, clients);
            println!("{clients} clients, {options:?}: {:+.1} %", 100.0 * (ratio - 1.0));
        }
    }
}
