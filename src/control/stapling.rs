//! OCSP responses for the certificates of TLS listeners: fetched here, stapled by the handshake threads.
//!
//! A response is looked at before it is used (see [`crate::base::ocsp`]); its signature is not, as in EMQX:
//! clients verify it. When none can be had, the last one is sent while it holds, and then none.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::base::ocsp::{ANSWER_BYTES_MAX, Answer, CertId, CertStatus};
use crate::config::{Config, Ssl};
use crate::control::authn::HttpClient;
use crate::control::clock;
use crate::gate::reply::Reply;
use crate::gate::tls::{Fetched, Staple, Stapling, TlsDesk, TlsRequest};

/// How often is looked whether a response is due, or a certificate new.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// When a responder is asked again that gave no response, unless responses are fetched more often.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How long the handshake threads may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of a listener's certificate.
struct Known {
    certificate: CertId,
    due: Instant,
    /// Until when the response in use holds; none without one, or without an end.
    until_unix_s: Option<i64>,
    failing: bool,
}

/// Begins to fetch, if a listener asks for it.
///
/// # Errors
/// A sentence for the user.
pub fn start(handle: &Handle, config: &Config, desk: Option<&TlsDesk>) -> Result<(), String> {
    let mut of_tls = config.listeners.iter().filter_map(|one| one.tls.as_ref());
    let wanted = of_tls.any(|tls| tls.ocsp.enable_ocsp_stapling);
    if let (true, Some(desk)) = (wanted, desk) {
        let public_cas = Ssl {
            enable: None,
            cacertfile: None,
            verify: None,
        };
        let client = HttpClient::new(ANSWER_TIMEOUT, 1, &public_cas)?;
        handle.spawn(run(desk.clone(), client));
    }
    Ok(())
}

async fn run(desk: TlsDesk, client: HttpClient) {
    let mut all: HashMap<String, Known> = HashMap::new();
    loop {
        let wanted = staplings(&desk).await;
        all.retain(|listener, _| wanted.iter().any(|one| one.listener == *listener));
        for stapling in wanted {
            let known = all
                .entry(stapling.listener.clone())
                .or_insert_with(|| Known::new(&stapling));
            if known.certificate != stapling.certificate {
                *known = Known::new(&stapling);
            }
            if known.due <= Instant::now() {
                let asked = timeout(stapling.timeout, ask(&client, &stapling)).await;
                let asked = asked.unwrap_or_else(|_| Err("it takes too long".to_owned()));
                let staple = known.learn(&stapling, asked);
                let fetched = Fetched {
                    listener: stapling.listener,
                    certificate: stapling.certificate,
                    staple,
                };
                if desk.ask(TlsRequest::Staple(fetched)).is_err() {
                    known.due = Instant::now();
                }
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What the handshake threads want.
async fn staplings(desk: &TlsDesk) -> Vec<Stapling> {
    let (tell, told) = oneshot::channel();
    // Whoever asks has gone when it took too long.
    let reply = Reply::new(move |staplings| drop(tell.send(staplings)));
    if desk.ask(TlsRequest::Staplings(reply)).is_err() {
        return Vec::new();
    }
    match timeout(ANSWER_TIMEOUT, told).await {
        Ok(Ok(staplings)) => staplings,
        _ => Vec::new(),
    }
}

impl Known {
    fn new(stapling: &Stapling) -> Self {
        Self {
            certificate: stapling.certificate.clone(),
            due: Instant::now(),
            until_unix_s: None,
            failing: false,
        }
    }

    /// Takes what a responder said; says what clients get from now on.
    fn learn(&mut self, stapling: &Stapling, said: Result<(Vec<u8>, Answer), String>) -> Staple {
        let (listener, url) = (&stapling.listener, &stapling.responder_url);
        match said {
            Ok((response, answer)) => {
                if answer.status != CertStatus::Good {
                    let status = answer.status;
                    tracing::error!(
                        "the certificate of listener {listener} is {status:?}, says {url}"
                    );
                } else if self.failing || self.until_unix_s.is_none() {
                    tracing::info!("listener {listener} staples an ocsp response of {url}");
                }
                self.failing = false;
                self.until_unix_s = answer.until_unix_s;
                self.due = Instant::now() + stapling.refresh_interval;
                Staple::New(response)
            }
            Err(why) => {
                if !self.failing {
                    tracing::warn!("no ocsp response for listener {listener} of {url}: {why}");
                }
                self.failing = true;
                self.due = Instant::now() + RETRY_AFTER.min(stapling.refresh_interval);
                let is_over = self.until_unix_s.is_some_and(|until| until <= now_s());
                if is_over { Staple::Drop } else { Staple::Keep }
            }
        }
    }
}

async fn ask(client: &HttpClient, stapling: &Stapling) -> Result<(Vec<u8>, Answer), String> {
    let said = |error: reqwest::Error| error.without_url().to_string();
    let request = client
        .post(&stapling.responder_url)
        .header(CONTENT_TYPE, "application/ocsp-request")
        .header(ACCEPT, "application/ocsp-response")
        .body(stapling.certificate.request());
    let mut response = request.send().await.map_err(said)?;
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(said)? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(format!(
                "its answer is longer than {ANSWER_BYTES_MAX} bytes"
            ));
        }
        body.extend_from_slice(&piece);
    }
    let answer = stapling.certificate.judge(&body, now_s());
    let answer = answer.map_err(|why| format!("its answer is of no use: {why}"))?;
    Ok((body, answer))
}

fn now_s() -> i64 {
    i64::try_from(clock::unix_s()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stapling() -> Stapling {
        Stapling {
            listener: "ssl:default".to_owned(),
            certificate: CertId::new(b"name", b"key", b"1"),
            responder_url: "http://127.0.0.1:1".to_owned(),
            refresh_interval: Duration::from_secs(300),
            timeout: Duration::from_secs(1),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_response_is_kept_while_it_holds() {
        let stapling = stapling();
        let mut known = Known::new(&stapling);
        let failed = || Err("it is away".to_owned());
        let answer = |until_unix_s| Answer {
            status: CertStatus::Good,
            until_unix_s,
        };
        assert_eq!(
            known.learn(&stapling, failed()),
            Staple::Keep,
            "there is none"
        );
        assert_eq!(known.due - Instant::now(), RETRY_AFTER);
        let holds = answer(Some(now_s() + 1000));
        assert_eq!(
            known.learn(&stapling, Ok((vec![1], holds))),
            Staple::New(vec![1])
        );
        assert_eq!(known.due - Instant::now(), stapling.refresh_interval);
        assert_eq!(known.learn(&stapling, failed()), Staple::Keep);
        let over = answer(Some(now_s() - 1));
        known.learn(&stapling, Ok((vec![2], over)));
        assert_eq!(known.learn(&stapling, failed()), Staple::Drop);
        known.learn(&stapling, Ok((vec![3], answer(None))));
        assert_eq!(
            known.learn(&stapling, failed()),
            Staple::Keep,
            "it has no end"
        );
    }

    #[tokio::test]
    async fn nobody_there_is_a_reason() {
        let public_cas = Ssl {
            enable: None,
            cacertfile: None,
            verify: None,
        };
        let client = HttpClient::new(ANSWER_TIMEOUT, 1, &public_cas).unwrap();
        assert!(ask(&client, &stapling()).await.is_err());
    }
}
