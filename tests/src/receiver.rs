//! A receiver of notifications on loopback, which keeps what it is sent and answers as it is told.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Result;
use serde_json::Value;

/// A receiver. It ends with the test process.
pub struct Receiver {
    url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sent: Vec<Sent>,
    answers: VecDeque<String>,
    silent: bool,
}

/// A request that it took.
#[derive(Clone, Debug)]
pub struct Sent {
    /// As in `POST`.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The lines of the head.
    pub headers: Vec<String>,
    /// The body as it came.
    pub text: String,
    /// The body as JSON.
    pub body: Value,
}

impl Sent {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter_map(|line| line.split_once(": "));
        values.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Receiver {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || while answer(&stream, &state).is_some() {});
            }
        });
        Ok(Self { url, state })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The requests that it took with success so far.
    pub fn sent(&self) -> Vec<Sent> {
        lock(&self.state).sent.clone()
    }

    /// The next requests are not taken, but answered with this: a status, and headers that end with a line break each.
    pub fn refuse(&self, answers: &[&str]) {
        lock(&self.state).answers.extend(answers.iter().map(|answer| (*answer).to_owned()));
    }

    /// The answers of [`Receiver::refuse`] that are left.
    pub fn refusals(&self) -> usize {
        lock(&self.state).answers.len()
    }

    /// From now on no request is answered, or every one.
    pub fn silence(&self, silent: bool) {
        lock(&self.state).silent = silent;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request; `None` closes the connection.
fn answer(mut stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => headers.push(line.to_owned()),
        }
    }
    let mut words = headers.first()?.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut sent = Sent { method, path, headers, text: String::new(), body: Value::Null };
    let mut body = vec![0; sent.header("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    sent.text = String::from_utf8(body).ok()?;
    sent.body = serde_json::from_str(&sent.text).unwrap_or_default();
    let refusal = {
        let mut state = lock(state);
        if state.silent {
            drop(state);
            // The client gives up.
            let _ = reader.read(&mut [0]);
            return None;
        }
        let refusal = state.answers.pop_front();
        if refusal.is_none() {
            state.sent.push(sent);
        }
        refusal
    };
    let head = refusal.unwrap_or_else(|| "201 Created\r\n".to_owned());
    write!(stream, "HTTP/1.1 {head}Content-Length: 2\r\n\r\n{{}}").ok()
}
