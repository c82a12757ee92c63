//! The command, as a container runs it.

use crate::wire::{DEADLINE, get, raw};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nim-sim"));
    command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn first_line(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn it_says_what_it_is_and_where_and_ends_at_sigterm() {
    let mut child = command()
        .args(["--listen", "127.0.0.1:0", "--lora", "tuned"])
        .env("NIM_SERVED_MODEL_NAME", "a/b,c")
        .env("NIM_HTTP_API_PORT", "1")
        .spawn()
        .unwrap();
    let line = first_line(&mut child).await;
    assert!(line.contains("simulation"), "{line}");
    let addr = line.rsplit("http://").next().unwrap().parse().unwrap();
    let cards = raw(addr, &get("/v1/models", "")).await.json();
    let ids: Vec<&str> =
        cards["data"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a/b", "c", "tuned"]);
    assert_eq!(cards["data"][2]["parent"], "a/b");

    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(timeout(DEADLINE, child.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let child = command().args(["--listen", "127.0.0.1:0", "--fault", "explode"]).spawn().unwrap();
    let output = timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("`explode`"));
}
