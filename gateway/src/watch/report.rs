//! From a back end's metrics page to how much it has to do: text in, a value out.
//!
//! Names are matched whole: newer servers have others that begin alike and count the same requests again. Some
//! exporters write `_` for `:`. A page may be of any server, and damaged: a line that is not understood is
//! passed over.

/// What one back end says of itself, all its engines together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    pub running: u32,
    pub waiting: u32,
    /// How much of its cache is used, in thousandths: of its fullest engine.
    pub cache_permille: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
enum Gauge {
    Running,
    Waiting,
    /// Of those that wait, the ones that there is no room for; the others are at work in pieces.
    WaitingForRoom,
    /// Running and waiting together.
    Present,
    Cache,
}

/// A series, and the label by which it is told from others of its name.
struct Series(&'static str, Option<(&'static str, &'static str)>, Gauge);

const VLLM: &[Series] = &[
    Series("vllm:num_requests_running", None, Gauge::Running),
    Series("vllm:num_requests_waiting", None, Gauge::Waiting),
    Series("vllm:num_requests_waiting_by_reason", Some(("reason", "capacity")), Gauge::WaitingForRoom),
    Series("vllm:kv_cache_usage_perc", None, Gauge::Cache),
    Series("vllm:gpu_cache_usage_perc", None, Gauge::Cache),
];
const SGLANG: &[Series] = &[
    Series("sglang:num_running_reqs", None, Gauge::Running),
    Series("sglang:num_queue_reqs", None, Gauge::Waiting),
    Series("sglang:token_usage", None, Gauge::Cache),
];
const LLAMA_CPP: &[Series] = &[
    Series("llamacpp:requests_processing", None, Gauge::Running),
    Series("llamacpp:requests_deferred", None, Gauge::Waiting),
    Series("llamacpp:kv_cache_usage_ratio", None, Gauge::Cache),
];
const TRITON: &[Series] = &[
    Series("nv_trt_llm_request_metrics", Some(("request_type", "scheduled")), Gauge::Running),
    Series("nv_trt_llm_request_metrics", Some(("request_type", "active")), Gauge::Present),
    Series("nv_trt_llm_kv_cache_block_metrics", Some(("kv_cache_block_type", "fraction")), Gauge::Cache),
];
const TGI: &[Series] =
    &[Series("tgi_batch_current_size", None, Gauge::Running), Series("tgi_queue_size", None, Gauge::Waiting)];
/// NIMs before they showed the names of what is inside.
const NIM: &[Series] = &[
    Series("num_requests_running", None, Gauge::Running),
    Series("num_requests_waiting", None, Gauge::Waiting),
    Series("gpu_cache_usage_perc", None, Gauge::Cache),
];
const SERVERS: [&[Series]; 6] = [VLLM, SGLANG, LLAMA_CPP, TRITON, TGI, NIM];

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    running: Option<f64>,
    waiting: Option<f64>,
    waiting_for_room: Option<f64>,
    present: Option<f64>,
    cache: Option<f64>,
}

impl Sums {
    fn add(&mut self, gauge: Gauge, value: f64) {
        let sum = match gauge {
            Gauge::Running => &mut self.running,
            Gauge::Waiting => &mut self.waiting,
            Gauge::WaitingForRoom => &mut self.waiting_for_room,
            Gauge::Present => &mut self.present,
            Gauge::Cache => {
                self.cache = Some(self.cache.map_or(value, |fullest| fullest.max(value)));
                return;
            }
        };
        *sum = Some(sum.unwrap_or_default() + value);
    }

    fn report(self) -> Option<Report> {
        let running = self.running;
        let rest = self.present.map(|present| (present - running.unwrap_or_default()).max(0.0));
        let waiting = self.waiting_for_room.or(self.waiting).or(rest);
        if running.is_none() && waiting.is_none() {
            return None;
        }
        Some(Report {
            running: running.unwrap_or_default() as u32,
            waiting: waiting.unwrap_or_default() as u32,
            cache_permille: self.cache.map(|cache| (cache.min(1.0) * 1000.0).round() as u16),
        })
    }
}

/// What a page says, if it is of a server that we know. One server's names, even if there are others' too.
pub fn read(page: &[u8]) -> Option<Report> {
    let mut sums = [Sums::default(); SERVERS.len()];
    let lines = page.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    for sample in lines.filter_map(Sample::read) {
        for (sums, series) in sums.iter_mut().zip(SERVERS) {
            if let Some(Series(_, _, gauge)) = series.iter().find(|series| sample.is(series)) {
                sums.add(*gauge, sample.value);
            }
        }
    }
    sums.into_iter().find_map(Sums::report)
}

/// One line with a value.
struct Sample<'l> {
    name: &'l str,
    labels: &'l str,
    value: f64,
}

impl<'l> Sample<'l> {
    fn read(line: &'l str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
        let (name, rest) = line.split_at(end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_at(labels_end(rest)?),
            None => ("", rest),
        };
        // What follows a value is its time.
        let value: f64 = rest.trim_start_matches('}').split_ascii_whitespace().next()?.parse().ok()?;
        (value.is_finite() && value >= 0.0).then_some(Self { name, labels, value })
    }

    fn is(&self, Series(name, label, _): &Series) -> bool {
        let same = |(own, known): (u8, u8)| own == known || (own == b'_' && known == b':');
        self.name.len() == name.len()
            && self.name.bytes().zip(name.bytes()).all(same)
            && label.is_none_or(|(name, value)| self.has(name, value))
    }

    fn has(&self, name: &str, value: &str) -> bool {
        let mut rest = self.labels;
        while let Some((before, after)) = rest.split_once('"') {
            let Some(end) = quote_end(after) else { return false };
            let (text, after) = after.split_at(end);
            let own = before.trim_start_matches([',', ' ']).trim_end_matches(['=', ' ']);
            if own == name && text == value {
                return true;
            }
            rest = after.get(1..).unwrap_or_default();
        }
        false
    }
}

/// Where the labels end: at a brace that is in no quotes.
fn labels_end(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let next = rest.find(['"', '}'])?;
        at += next;
        if rest.as_bytes().get(next) == Some(&b'}') {
            return Some(at);
        }
        at += 1;
        at += quote_end(text.get(at..)?)? + 1;
    }
}

/// Where the text of a label ends: at a quote that is not escaped.
fn quote_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    })
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
