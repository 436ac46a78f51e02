//! The configuration: any text as a file, as overrides, and as arguments. What is accepted is valid,
//! what is refused names the reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::config::{Config, Machine, Sources, TomlFile};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let machine = Machine {
        cpus: 4,
        descriptors_hard: 1 << 20,
        memory_bytes: 8 << 30,
    };
    let file = TomlFile {
        name: "fuzz.toml".to_owned(),
        text: text.to_owned(),
    };
    let lines = || text.lines().map(str::to_owned);
    for sources in [
        Sources {
            file: Some(file.clone()),
            ..Sources::default()
        },
        Sources {
            overrides: Some(file),
            ..Sources::default()
        },
        Sources {
            set: lines().take(8).collect(),
            ..Sources::default()
        },
        Sources {
            listen: lines().take(4).collect(),
            ..Sources::default()
        },
    ] {
        match Config::new(&sources, &machine) {
            Ok(config) => {
                assert!(!config.listeners.is_empty());
                assert_eq!(Config::new(&sources, &machine), Ok(config.clone()));
                config.warnings(&machine);
            }
            Err(error) => {
                assert!(!error.problems.is_empty());
                assert!(!error.to_string().is_empty());
            }
        }
    }
});
