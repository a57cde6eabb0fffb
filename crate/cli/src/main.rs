//! The `plenipo` program, without Node.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(plenipo_cli::main(std::env::args_os()))
}
