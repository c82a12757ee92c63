//! Command lines for a gateway that runs.

use integration_tests::{Ended, Home, Serving};
use serde_json::Value;

/// A gateway that runs, and the command told where.
pub struct At {
    pub home: Home,
    pub gateway: Serving,
}

impl At {
    pub async fn start() -> Self {
        let home = Home::new().await;
        let gateway = home.up(&[]).await;
        Self { home, gateway }
    }

    pub async fn run(&self, line: &str) -> Ended {
        self.fed(line, "").await
    }

    /// Runs a line with this on its standard input.
    pub async fn fed(&self, line: &str, input: &str) -> Ended {
        let url = self.gateway.url();
        let words = line.split_whitespace().chain(["--gateway-url", &url]);
        self.home.run_with_input(words, input).await
    }

    pub async fn done(&self, line: &str) -> String {
        self.run(line).await.expect_done().stdout
    }

    pub async fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{line} -o json")).await).unwrap()
    }

    /// The names in a list.
    pub async fn names(&self, line: &str) -> Vec<String> {
        let list = self.json(line).await;
        list.as_array().unwrap().iter().map(|value| value["name"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn fails(&self, line: &str, code: i32) -> String {
        let ended = self.run(line).await;
        assert_eq!(ended.code, Some(code), "{line}: {}{}", ended.stdout, ended.stderr);
        ended.stderr
    }
}
