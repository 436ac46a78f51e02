//! Samples as JMeter writes them: CSV with the columns of a JTL file, so that JMeter's listeners and its
//! report generator read them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::interval::{Kind, Sample};

/// JMeter's default columns that a plug-in's sampler fills.
const HEADER: &str = "timeStamp,elapsed,label,responseCode,responseMessage,threadName,success,bytes,\
                      grpThreads,allThreads,Latency,Connect";

/// Bytes of the answer: CONNACK, SUBACK, PINGRESP in MQTT 3.1.1; none is known of a delivery.
fn answer_bytes(kind: Kind) -> u32 {
    match kind {
        Kind::Connect => 4,
        Kind::Subscribe => 5,
        Kind::Ping => 2,
        Kind::Delivery => 0,
    }
}

/// The file, as it grows.
#[derive(Debug)]
pub(crate) struct Jtl(BufWriter<File>);

impl Jtl {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "{HEADER}")?;
        Ok(Self(file))
    }

    /// Writes the samples of one interval in the order of their beginning. `origin_ms` is the run's
    /// time 0 in Unix milliseconds, `threads` how many connections are open.
    pub(crate) fn write(
        &mut self,
        samples: &mut [Sample],
        origin_ms: u64,
        threads: u64,
    ) -> io::Result<()> {
        samples.sort_unstable_by_key(|sample| (sample.begin_ns, sample.number));
        for sample in samples {
            writeln!(self.0, "{}", line(sample, origin_ms, threads))?;
        }
        self.0.flush()
    }
}

/// Milliseconds, as everything in the format.
fn line(sample: &Sample, origin_ms: u64, threads: u64) -> String {
    let ms = |us: u64| (us + 500) / 1000;
    let (code, message, success) = match &sample.failure {
        None => ("200", "OK".to_owned(), true),
        Some(why) => ("500", quoted(why), false),
    };
    format!(
        "{},{},{},{code},{message},connections 1-{},{success},{},{threads},{threads},{},{}",
        origin_ms + sample.begin_ns / 1_000_000,
        ms(sample.elapsed_us),
        sample.kind.label(),
        sample.number + 1,
        if success {
            answer_bytes(sample.kind)
        } else {
            0
        },
        ms(sample.elapsed_us),
        ms(sample.tcp_us),
    )
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\"").replace('\n', " "))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_header_s_columns() {
        let mut sample = Sample {
            kind: Kind::Connect,
            begin_ns: 2_000_000_000,
            elapsed_us: 12_600,
            tcp_us: 400,
            number: 6,
            failure: None,
        };
        let whole = line(&sample, 1000, 9);
        assert_eq!(
            whole,
            "3000,13,MQTT Connect,200,OK,connections 1-7,true,4,9,9,13,0"
        );
        assert_eq!(whole.split(',').count(), HEADER.split(',').count());
        sample.failure = Some("it said \"no\", twice".to_owned());
        assert!(line(&sample, 0, 0).contains(",500,\"it said \"\"no\"\", twice\","));
    }
}
