//! What the CPU must be able to do for this build.

use std::fs;

/// As `/proc/cpuinfo` calls them: those of x86-64-v3 beyond what every x86-64 CPU has, and AES.
const NEEDED: &[(bool, &str)] = &[
    (cfg!(target_feature = "avx2"), "avx2"),
    (cfg!(target_feature = "bmi1"), "bmi1"),
    (cfg!(target_feature = "bmi2"), "bmi2"),
    (cfg!(target_feature = "fma"), "fma"),
    (cfg!(target_feature = "movbe"), "movbe"),
    (cfg!(target_feature = "lzcnt"), "abm"),
    (cfg!(target_feature = "aes"), "aes"),
];

/// The program was built for another CPU.
#[derive(Debug, thiserror::Error)]
#[error(
    "this CPU lacks {missing}, which this build uses; in a virtual machine choose a CPU model that \
     has it (\"host\", or x86-64-v3 and aes), or build with \
     RUSTFLAGS=\"-C target-cpu=x86-64\""
)]
pub struct CpuError {
    missing: String,
}

/// Checks the CPU. Where it cannot be asked, nothing is refused.
///
/// # Errors
/// When something is missing.
pub fn check() -> Result<(), CpuError> {
    match fs::read_to_string("/proc/cpuinfo") {
        Ok(text) => check_flags(&text, NEEDED),
        Err(_) => Ok(()),
    }
}

fn check_flags(cpuinfo: &str, needed: &[(bool, &str)]) -> Result<(), CpuError> {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags"));
    let Some(flags) = flags else {
        return Ok(());
    };
    let has = |flag: &str| flags.split_whitespace().any(|known| known == flag);
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(used, flag)| *used && !has(flag))
        .map(|&(_, flag)| flag)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(CpuError {
            missing: missing.join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_and_what_is_not_used_is_not_missed() {
        let needed = [(true, "avx2"), (true, "aes"), (false, "movbe")];
        let old = "processor\t: 0\nflags\t\t: fpu sse2 aesni avx\n";
        let error = check_flags(old, &needed).unwrap_err().to_string();
        assert!(error.contains("lacks avx2, aes,"), "{error}");
        assert!(check_flags("flags\t\t: fpu avx2 aes\n", &needed).is_ok());
        assert!(check_flags("Processor: something else", &needed).is_ok());
    }

    #[test]
    fn this_cpu_will_do() {
        check().unwrap();
    }
}
