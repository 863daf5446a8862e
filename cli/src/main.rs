//! The `millstream` binary: the command line with the built-in filters.

fn main() -> std::process::ExitCode {
    millstream::main_with(millstream::built_in_filters())
}
