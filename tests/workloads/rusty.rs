// SPDX-License-Identifier: Apache-2.0
// Rust: a generic function, and a closure below an iterator; says how much CPU time each got.
use std::hint::black_box;
use std::time::Instant;

mod shop {
    #[inline(never)]
    pub fn generic<T: Into<u64> + Copy>(start: T, rounds: u64) -> u64 {
        let mut x: u64 = start.into();
        for _ in 0..rounds {
            x = std::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407));
        }
        x
    }

    pub struct Till;
    impl Till {
        #[inline(never)]
        pub fn count(&self, rounds: u64) -> u64 {
            (0..rounds).fold(1u64, |x, i| std::hint::black_box(x.wrapping_mul(31).wrapping_add(i)))
        }
    }
}

fn main() {
    let wanted: f64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(5.0);
    let (mut a, mut b) = (0.0, 0.0);
    while a + b < wanted {
        let begin = Instant::now();
        black_box(shop::generic(7u32, 1_000_000));
        a += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        black_box(shop::Till.count(1_000_000));
        b += begin.elapsed().as_secs_f64();
    }
    println!("{{\"generic\": {:.6}, \"count\": {:.6}}}", a, b);
}
