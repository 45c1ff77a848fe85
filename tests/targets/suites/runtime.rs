// Starts a program as Rust's standard library does, with no variable.

use std::io::Write;
use std::process::{Command, Stdio};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    Command::new(&arguments[2])
        .args(&arguments[3..])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    println!("started");
    std::io::stdout().flush().unwrap();
    if arguments[1] == "is_killed" {
        std::thread::sleep(std::time::Duration::from_secs(600));
    }
}
