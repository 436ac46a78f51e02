//! Users in real servers: entered by the servers' own clients, found by the broker.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bench_harness::client::{Client, Error, Options};
use bench_harness::codec::{Packet, Version};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::broker::Broker;
use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(20);
const SALT: &str = "slat_foo16";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256, salt before the password: the default of what asks others.
fn hashed(password: &str) -> String {
    hex(&Sha256::digest(format!("{SALT}{password}")))
}

fn broker(member: &str) -> Broker {
    let chain = format!("authentication=[{member}]");
    Broker::with(&["--cores", "2", "--set", &chain])
}

fn code(address: SocketAddr, user: &str, password: &str) -> u8 {
    let mut options = Options::new(Version::V5, "c");
    options.timeout = PATIENCE;
    options.connect.username = Some(user.to_owned());
    options.connect.password = Some(password.as_bytes().to_vec());
    match Client::connect(address, &options) {
        Ok(_) => 0,
        Err(Error::Unexpected(packet)) => match *packet {
            Packet::ConnAck(ack) => ack.code,
            other => panic!("no CONNACK but {other:?}"),
        },
        Err(other) => panic!("{other}"),
    }
}

/// `good` with `secret` and `root` with `toor` are there, nobody else.
fn judge(broker: &Broker) {
    let address = broker.address();
    for _ in 0..3 {
        assert_eq!(code(address, "good", "secret"), 0);
        assert_eq!(code(address, "root", "toor"), 0);
        assert_eq!(code(address, "good", "toor"), 0x86);
        assert_eq!(code(address, "nobody", "secret"), 0x86);
        // What is no name is none, whatever language the server speaks.
        for hostile in [
            "' or '1'='1",
            "*",
            "good\r\nget x",
            "good)(uid=*",
            "{\"$ne\":1}",
        ] {
            assert_eq!(code(address, hostile, "secret"), 0x86, "{hostile}");
        }
    }
    let many: Vec<_> = (0..8)
        .map(|_| std::thread::spawn(move || (0..25).all(|_| code(address, "good", "secret") == 0)))
        .collect();
    assert!(many.into_iter().all(|thread| thread.join().unwrap()));
}

/// The broker asks the source about access, and denies what it is not told.
fn access_broker(source: &str) -> Broker {
    let sources = format!("authorization.sources.remote=[{source}]");
    let no_match = "authorization.no_match=deny";
    Broker::with(&["--cores", "2", "--set", &sources, "--set", no_match])
}

/// `good` may publish and subscribe below `own/good`, but not subscribe to `own/good/secret`.
fn judge_access(broker: &Broker) {
    let mut options = Options::new(Version::V5, "c");
    options.timeout = PATIENCE;
    options.connect.username = Some("good".to_owned());
    let mut client = Client::connect(broker.address(), &options).unwrap();
    assert_eq!(client.subscribe("own/good/a", 1).unwrap(), 1);
    assert_eq!(client.subscribe("own/good/secret", 1).unwrap(), 0x87);
    assert_eq!(client.subscribe("own/root/a", 1).unwrap(), 0x87);
    assert_eq!(client.subscribe("#", 1).unwrap(), 0x87);
    client.publish("own/root/a", 0, b"denied").unwrap();
    client.publish("own/good/a", 0, b"own").unwrap();
    assert_eq!(client.expect_publish().unwrap().payload, b"own");
    options.connect.username = Some("nobody".to_owned());
    options.connect.client_id = "d".to_owned();
    let mut nobody = Client::connect(broker.address(), &options).unwrap();
    assert_eq!(nobody.subscribe("own/good/a", 0).unwrap(), 0x87);
}

/// The server is gone: nobody knows the client. It comes back: the client enters again.
fn judge_restart(broker: &Broker, server: Server, again: impl FnOnce(u16) -> Server) {
    let (address, port) = (broker.address(), server.port);
    drop(server);
    for _ in 0..8 {
        assert_eq!(code(address, "good", "secret"), 0x86);
    }
    let _server = again(port);
    let deadline = Instant::now() + Duration::from_secs(60);
    while code(address, "good", "secret") != 0 {
        assert!(
            Instant::now() < deadline,
            "the broker does not find it again"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn enter_redis(cli: &[&str]) {
    for (user, password, superuser) in [("good", "secret", "0"), ("root", "toor", "1")] {
        let key = format!("mqtt_user:{user}");
        let hash = hashed(password);
        let fields = [
            "password_hash",
            &hash,
            "salt",
            SALT,
            "is_superuser",
            superuser,
        ];
        let arguments = [cli, &["hset", &key], &fields].concat();
        Server::run("redis-cli", &arguments, &[]);
    }
}

fn start_redis(port: Option<u16>) -> Server {
    let server = match port {
        Some(port) => Server::at("redis", port),
        None => Server::start("redis"),
    };
    let port = server.port.to_string();
    enter_redis(&["-p", &port, "-a", "secret", "--no-auth-warning"]);
    server
}

#[test]
#[ignore = "needs Redis"]
fn users_in_redis() {
    let server = start_redis(None);
    let broker = broker(&format!(
        r#"{{"mechanism":"password_based","backend":"redis","server":"{}","password":"secret"}}"#,
        server.address()
    ));
    judge(&broker);
    let port = server.port.to_string();
    let secret = r#"{"action":"subscribe","permission":"deny"}"#;
    let rules = ["own/good/secret", secret, "own/${username}/#", "all"];
    let cli = [
        "-p",
        &port,
        "-a",
        "secret",
        "--no-auth-warning",
        "hset",
        "mqtt_acl:good",
    ];
    Server::run("redis-cli", &[&cli[..], &rules].concat(), &[]);
    judge_access(&access_broker(&format!(
        r#"{{"type":"redis","server":"{}","password":"secret"}}"#,
        server.address()
    )));
    judge_restart(&broker, server, |port| start_redis(Some(port)));
}

#[test]
#[ignore = "needs Redis"]
fn users_in_a_redis_cluster() {
    let server = Server::start("redis-cluster");
    let port = server.port.to_string();
    enter_redis(&["-c", "-p", &port]);
    let broker = broker(&format!(
        r#"{{"mechanism":"password_based","backend":"redis","redis_type":"cluster",
            "servers":"127.0.0.1:{},127.0.0.1:{}"}}"#,
        server.port,
        server.port + 1
    ));
    judge(&broker);
}

/// Both databases understand it.
fn table() -> String {
    let mut sql = "create table mqtt_user (id int primary key, username varchar(100) unique, \
                   password_hash varchar(100), salt varchar(40), is_superuser boolean);"
        .to_owned();
    for (id, user, password, superuser) in [(1, "good", "secret", false), (2, "root", "toor", true)]
    {
        let hash = hashed(password);
        sql += &format!(
            "insert into mqtt_user values ({id}, '{user}', '{hash}', '{SALT}', {superuser});"
        );
    }
    sql
}

/// Rules, EMQX 5's table; both databases understand it.
const RULES: &str = "create table mqtt_acl (id int primary key, ipaddress varchar(60), \
    username varchar(100), permission varchar(10), action varchar(10), topic varchar(100), \
    qos smallint, retain smallint);\
    insert into mqtt_acl values (1, '', 'good', 'deny', 'subscribe', 'own/good/secret', null, null);\
    insert into mqtt_acl values (2, '127.0.0.1', 'good', 'allow', 'all', 'own/${username}/#', null, null);";

#[test]
#[ignore = "needs MariaDB"]
fn users_in_mariadb() {
    let server = Server::start("mariadb");
    let port = format!("-P{}", server.port);
    let base = [
        "--no-defaults",
        "--protocol=tcp",
        "-h127.0.0.1",
        "-umqtt",
        "-psecret",
    ];
    let sql = table();
    Server::run(
        "mariadb",
        &[&base[..], &[&port, "mqtt", "-e", &sql]].concat(),
        &[],
    );
    let member = |query: &str| {
        format!(
            r#"{{"mechanism":"password_based","backend":"mysql","server":"{}","database":"mqtt",
                "username":"mqtt","password":"secret"{query}}}"#,
            server.address()
        )
    };
    judge(&broker(&member("")));
    // EMQX 4's query and notation.
    let old = r#","query":"select password_hash as password, salt from mqtt_user where username = '%u' limit 1",
                "password_hash_algorithm":"salt,sha256""#;
    judge(&broker(&member(old)));
    Server::run(
        "mariadb",
        &[&base[..], &[&port, "mqtt", "-e", RULES]].concat(),
        &[],
    );
    judge_access(&access_broker(&format!(
        r#"{{"type":"mysql","server":"{}","database":"mqtt","username":"mqtt","password":"secret"}}"#,
        server.address()
    )));
}

#[test]
#[ignore = "needs PostgreSQL"]
fn users_in_postgresql() {
    let server = Server::start("postgres");
    let port = server.port.to_string();
    let base = [
        "-q",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "mqtt",
        "-d",
        "mqtt",
        "-c",
    ];
    let sql = table();
    let password = [("PGPASSWORD", "secret")];
    let psql = "/usr/lib/postgresql/15/bin/psql";
    Server::run(psql, &[&base[..], &[&sql]].concat(), &password);
    let broker = broker(&format!(
        r#"{{"mechanism":"password_based","backend":"postgresql","server":"{}","database":"mqtt",
            "username":"mqtt","password":"secret"}}"#,
        server.address()
    ));
    judge(&broker);
    Server::run(psql, &[&base[..], &[RULES]].concat(), &password);
    judge_access(&access_broker(&format!(
        r#"{{"type":"postgresql","server":"{}","database":"mqtt","username":"mqtt",
            "password":"secret"}}"#,
        server.address()
    )));
}

#[test]
#[ignore = "needs the stand-in for MongoDB"]
fn users_in_a_stand_in_for_mongodb() {
    let server = Server::start("mongodb");
    let script = format!(
        "import pymongo\nt = pymongo.MongoClient('127.0.0.1', {}).mqtt.mqtt_user\n\
         t.insert_one({{'username': 'good', 'password_hash': '{}', 'salt': '{SALT}', 'is_superuser': False}})\n\
         t.insert_one({{'username': 'root', 'password_hash': '{}', 'salt': '{SALT}', 'is_superuser': True}})\n",
        server.port,
        hashed("secret"),
        hashed("toor")
    );
    let cache = std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
        format!("{home}/.cache")
    });
    let python = format!("{cache}/millrace-test-tools/servers/mongodb/bin/python");
    Server::run(&python, &["-c", &script], &[]);
    let broker = broker(&format!(
        r#"{{"mechanism":"password_based","backend":"mongodb","server":"{}","database":"mqtt",
            "collection":"mqtt_user","filter":{{"username":"${{username}}"}}}}"#,
        server.address()
    ));
    judge(&broker);
    let script = format!(
        "import pymongo\nt = pymongo.MongoClient('127.0.0.1', {}).mqtt.mqtt_acl\n\
         t.insert_one({{'username': 'good', 'permission': 'deny', 'action': 'subscribe', \
         'topics': ['own/good/secret']}})\n\
         t.insert_one({{'username': 'good', 'permission': 'allow', 'action': 'all', \
         'topics': ['own/${{username}}/#']}})\n",
        server.port
    );
    Server::run(&python, &["-c", &script], &[]);
    judge_access(&access_broker(&format!(
        r#"{{"type":"mongodb","server":"{}","database":"mqtt"}}"#,
        server.address()
    )));
}

fn entries() -> String {
    let mut digest = Sha1::digest(format!("toor{SALT}")).to_vec();
    digest.extend_from_slice(SALT.as_bytes());
    let salted = STANDARD.encode(digest);
    let mut ldif = "dn: dc=mqtt,dc=test\nobjectClass: dcObject\nobjectClass: organization\n\
                    o: test\ndc: mqtt\n\ndn: ou=users,dc=mqtt,dc=test\n\
                    objectClass: organizationalUnit\nou: users\n"
        .to_owned();
    for (user, password) in [
        ("good", "secret".to_owned()),
        ("root", format!("{{SSHA}}{salted}")),
    ] {
        ldif += &format!(
            "\ndn: uid={user},ou=users,dc=mqtt,dc=test\nobjectClass: inetOrgPerson\nuid: {user}\n\
             cn: {user}\nsn: {user}\nuserPassword: {password}\n"
        );
    }
    ldif
}

#[test]
#[ignore = "needs OpenLDAP"]
fn users_in_ldap() {
    let server = Server::prepared("ldap", |scratch| {
        std::fs::write(scratch.path("init.ldif"), entries()).unwrap();
    });
    for kind in ["hash", "bind"] {
        let broker = broker(&format!(
            r#"{{"mechanism":"ldap","backend":"ldap","server":"{}",
                "username":"cn=admin,dc=mqtt,dc=test","password":"secret",
                "base_dn":"ou=users,dc=mqtt,dc=test","filter":"(uid=${{username}})",
                "method":{{"type":"{kind}"}}}}"#,
            server.address()
        ));
        judge(&broker);
        // An empty password would be an anonymous bind, which succeeds.
        assert_eq!(code(broker.address(), "good", ""), 0x86);
    }
}
