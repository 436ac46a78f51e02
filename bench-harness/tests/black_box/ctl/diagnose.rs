//! Traces and the log by command line, in the forms of EMQX 2, 4 and 5.

use super::{V, data_dir, refused, told, told_json, until};
use crate::broker::Broker;
use crate::peer::{clean, connect, leave, ping};

fn file(broker: &Broker, name: &str) -> String {
    let path = format!("{}/trace/{name}", data_dir(broker));
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_client_and_a_topic_are_traced_into_files_of_the_data_directory() {
    let broker = Broker::start(2);
    let start = ["trace", "start", "client", "c2", "log/c2.log", "debug"];
    assert_eq!(told(&broker, &start), "trace clientid c2 successfully");
    let old = ["trace", "topic", "t/#", "trace_topic.log"];
    assert_eq!(told(&broker, &old), "trace topic t/# successfully");
    let list = told(&broker, &["trace", "list"]);
    let wanted = format!(
        "Trace(clientid=c2, level=debug, destination=\"{}/trace/c2.log\")",
        data_dir(&broker)
    );
    assert!(list.lines().any(|line| line == wanted), "{list}");
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(refused(&broker, &start).contains("looks for the same"));
    let mut client = connect(broker.address(), &clean(V, "c2"));
    client.publish("t/1", 1, b"x").unwrap();
    ping(&mut client);
    leave(client);
    until(&broker, &["trace", "list"], |_| {
        file(&broker, "c2.log").contains("connection_terminated")
            && file(&broker, "trace_topic.log").contains("publish_to, topic: t/1")
    });
    assert_eq!(
        told(&broker, &["trace", "stop", "client", "c2"]),
        "stop tracing clientid c2 successfully"
    );
    assert_eq!(
        told(&broker, &["trace", "topic", "t/#", "off"]),
        "stop tracing topic t/# successfully"
    );
    assert_eq!(told(&broker, &["trace", "list"]), "");
    assert!(refused(&broker, &["trace", "stop", "client", "c2"]).contains("no trace"));
    assert!(
        file(&broker, "c2.log").contains("CONNECT"),
        "the file stays"
    );
    refused(&broker, &["trace", "start", "client", "c", "f.log", "loud"]);
    refused(
        &broker,
        &["trace", "start", "ip_address", "nowhere", "f.log"],
    );
}

#[test]
fn traces_have_names_as_well() {
    let broker = Broker::start(1);
    let start = ["traces", "start", "mine", "ip_address", "127.0.0.1", "60"];
    assert_eq!(told(&broker, &start), "cluster_trace mine successfully");
    let list = told(&broker, &["traces", "list"]);
    let begin = "Trace(mine: ip_address=127.0.0.1, running, LogSize:[{'millrace@127.0.0.1',";
    assert!(list.starts_with(begin), "{list}");
    assert_eq!(told_json(&broker, &["traces", "list"])[0]["name"], "mine");
    assert_eq!(
        told(&broker, &["traces", "stop", "mine"]),
        "stop cluster_trace mine successfully"
    );
    assert!(told(&broker, &["traces", "list"]).contains("stopped"));
    assert_eq!(
        told(&broker, &["traces", "delete", "mine"]),
        "delete cluster_trace mine successfully"
    );
    assert_eq!(told(&broker, &["traces", "list"]), "");
    assert!(refused(&broker, &["traces", "delete", "mine"]).contains("no such trace"));
}

#[test]
fn the_log_has_levels_and_the_machine_has_figures() {
    let broker = Broker::start(1);
    let handlers = told(&broker, &["log", "handlers", "list"]);
    let line = "LogHandler(id=console, level=info, destination=stderr, status=started)";
    assert_eq!(handlers, line);
    assert_eq!(told(&broker, &["log", "primary-level"]), "info");
    assert_eq!(told(&broker, &["log", "set-level", "debug"]), "debug");
    assert_eq!(told(&broker, &["log", "primary-level"]), "debug");
    let words = ["log", "handlers", "set-level", "console", "error"];
    assert_eq!(told(&broker, &words), "error");
    let words = ["log", "handlers", "set-level", "file", "error"];
    assert!(refused(&broker, &words).contains("no log handler `file`"));
    let memory = told(&broker, &["vm", "memory"]);
    assert!(memory.starts_with("memory/total            : "), "{memory}");
    assert_eq!(memory.lines().count(), 2);
    assert!(!broker.stop().contains("stopping"), "errors only");
}
