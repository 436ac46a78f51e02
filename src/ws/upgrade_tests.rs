//! Requests that are good, and every way in which one is not.

use super::*;

fn request(lines: &[&str]) -> Vec<u8> {
    let mut text = lines.join("\r\n");
    text.push_str("\r\n\r\n");
    text.into_bytes()
}

/// A good request with lines replaced or added by the name before the colon; an empty value removes.
fn changed(changes: &[&str]) -> Vec<u8> {
    let good = [
        "GET /mqtt HTTP/1.1",
        "Host: broker:8083",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
    ];
    let name = |line: &str| line.split([':', ' ']).next().unwrap_or("").to_owned();
    let mut lines: Vec<String> = good.iter().map(|line| (*line).to_owned()).collect();
    for change in changes {
        let found = lines.iter().position(|line| name(line) == name(change));
        match found {
            Some(at) if change.ends_with(": -") => drop(lines.remove(at)),
            Some(at) => (*change).clone_into(&mut lines[at]),
            None => lines.push((*change).to_owned()),
        }
    }
    request(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

fn said(head: &[u8], rules: &WebSocketRules) -> String {
    match judge(head, rules, false) {
        Ok(accepted) => String::from_utf8(accepted.answer).unwrap(),
        Err(refused) => String::from_utf8(refused.answer()).unwrap(),
    }
}

fn status(head: &[u8], rules: &WebSocketRules) -> u16 {
    let said = said(head, rules);
    said.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap()
}

#[test]
fn the_example_of_the_rfc_is_answered_as_there() {
    assert_eq!(
        accept_of("dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    let said = said(&changed(&[]), &WebSocketRules::default());
    assert_eq!(
        said,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
}

#[test]
fn what_is_wrong_has_its_own_answer() {
    let rules = WebSocketRules::default();
    for (change, want, word) in [
        ("POST /mqtt HTTP/1.1", 405, "GET"),
        ("GET /mqtt HTTP/1.0", 400, "HTTP/1.1"),
        ("GET /other HTTP/1.1", 404, "/mqtt"),
        ("GET /mqtt/ HTTP/1.1", 404, "/mqtt"),
        ("Host: -", 400, "Host"),
        ("Upgrade: -", 426, "WebSocket"),
        ("Upgrade: h2c", 426, "WebSocket"),
        ("Connection: close", 426, "WebSocket"),
        ("Sec-WebSocket-Version: 8", 426, "13"),
        ("Sec-WebSocket-Key: -", 400, "Sec-WebSocket-Key"),
        ("Sec-WebSocket-Key: c2hvcnQ=", 400, "Sec-WebSocket-Key"),
        ("Sec-WebSocket-Key: !", 400, "Sec-WebSocket-Key"),
        ("Sec-WebSocket-Protocol: -", 400, "mqtt-v5"),
        ("Sec-WebSocket-Protocol: chat", 400, "mqtt-v5"),
        ("Bad Name: x", 400, "HTTP"),
    ] {
        // The first line has no name before a colon.
        let head = if change.contains("HTTP/") {
            let good = String::from_utf8(changed(&[])).unwrap();
            good.replacen("GET /mqtt HTTP/1.1", change, 1).into_bytes()
        } else {
            changed(&[change])
        };
        let said = said(&head, &rules);
        assert_eq!(status(&head, &rules), want, "{change}: {said}");
        assert!(
            said.lines().last().unwrap().contains(word),
            "{change}: {said}"
        );
        assert!(said.contains("Connection: close"), "{said}");
    }
}

#[test]
fn the_first_known_sub_protocol_is_chosen() {
    let rules = WebSocketRules::default();
    for (offered, chosen) in [
        ("mqttv3.1", "mqttv3.1"),
        ("chat, mqtt-v5, mqtt", "mqtt-v5"),
        ("mqtt", "mqtt"),
    ] {
        let head = changed(&[&format!("Sec-WebSocket-Protocol: {offered}")]);
        let want = format!("Sec-WebSocket-Protocol: {chosen}\r\n");
        assert!(said(&head, &rules).contains(&want), "{offered}");
    }
    let lax = WebSocketRules {
        fail_if_no_protocol: false,
        ..WebSocketRules::default()
    };
    let without = said(&changed(&["Sec-WebSocket-Protocol: -"]), &lax);
    assert!(without.starts_with("HTTP/1.1 101") && !without.contains("Sec-WebSocket-Protocol"));
    assert_eq!(
        status(&changed(&["Sec-WebSocket-Protocol: chat"]), &lax),
        400
    );
}

#[test]
fn origins_are_checked_when_wanted() {
    let open = WebSocketRules::default();
    let strict = WebSocketRules {
        check_origin: true,
        allow_origin_absence: false,
        origins: vec!["https://panel.example".to_owned()],
        ..WebSocketRules::default()
    };
    let mild = WebSocketRules {
        allow_origin_absence: true,
        ..strict.clone()
    };
    for (origin, statuses) in [
        (None, [101, 403, 101]),
        (Some("https://panel.example"), [101, 101, 101]),
        (Some("https://panel.example.evil"), [101, 403, 403]),
        (Some("null"), [101, 403, 403]),
    ] {
        let head = match origin {
            Some(origin) => changed(&[&format!("Origin: {origin}")]),
            None => changed(&[]),
        };
        let got = [&open, &strict, &mild].map(|rules| status(&head, rules));
        assert_eq!(got, statuses, "{origin:?}");
    }
}

#[test]
fn a_trusted_proxy_tells_who_the_client_is() {
    let rules = WebSocketRules::default();
    let told = |lines: &[&str], trusted| judge(&changed(lines), &rules, trusted).unwrap().told;
    let ip = |text: &str| Some(text.parse().unwrap());
    for (lines, want) in [
        (
            &[
                "X-Forwarded-For: 192.0.2.7, 10.0.0.1",
                "X-Forwarded-Port: 4711",
            ][..],
            Some(ToldPeer {
                ip: ip("192.0.2.7"),
                port: Some(4711),
            }),
        ),
        (
            &["X-Forwarded-For: 2001:db8::1"],
            Some(ToldPeer {
                ip: ip("2001:db8::1"),
                port: None,
            }),
        ),
        (
            &["X-Forwarded-For: [2001:db8::1]:99"],
            Some(ToldPeer {
                ip: ip("2001:db8::1"),
                port: Some(99),
            }),
        ),
        (
            &["X-Forwarded-For: nobody", "X-Forwarded-Port: 70000"],
            None,
        ),
        (&[], None),
    ] {
        assert_eq!(told(lines, true), want, "{lines:?}");
        assert_eq!(told(lines, false), None);
    }
}
