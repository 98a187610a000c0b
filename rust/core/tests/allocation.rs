//! `decide` and `uncertainty` allocate nothing: counted by an allocator of this test's own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use askance_core::draw::Draws;
use askance_core::gate::{
    Coins, Logits, Measure, Misuse, Outputs, Path, Propensity, Scoring, decide, uncertainty,
};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn deciding_allocates_nothing() -> Result<(), Misuse> {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![0_u8; 8]));
    assert!(ALLOCATIONS.get() > before, "the counter counts");

    for (rows, classes) in [(1, 2), (71, 4), (300, 20), (130, 77), (40, 1000)] {
        let values: Vec<f32> = (0..rows * classes)
            .map(|x| f32::from(u16::try_from(x % 97).unwrap_or(0)) / 7.0)
            .collect();
        let partitions = vec![3; rows];
        let offsets: Vec<i64> = (0..).take(rows).collect();
        let (mut labels, mut accepted, mut finite) =
            (vec![0; rows], vec![false; rows], vec![false; rows]);
        let (mut confidences, mut uncertainties, mut propensities) =
            (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows]);
        for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
            for measure in Measure::ALL {
                let before = ALLOCATIONS.get();
                let logits = Logits::new(&values, classes)?;
                let scoring = Scoring::new(measure, 1.5)?;
                let coins = Coins {
                    draws: Draws::new(1, "allocation"),
                    propensity: Propensity::new(0.05, 2.0, 1.5)?,
                    partitions: &partitions,
                    offsets: &offsets,
                };
                let outputs = Outputs {
                    labels: &mut labels,
                    confidences: &mut confidences,
                    uncertainties: &mut uncertainties,
                    propensities: &mut propensities,
                    accepted: &mut accepted,
                    finite: &mut finite,
                };
                decide(path, logits, scoring, coins, outputs)?;
                uncertainty(path, logits, scoring, &mut uncertainties)?;
                assert_eq!(
                    ALLOCATIONS.get(),
                    before,
                    "{} with {classes} classes",
                    path.name()
                );
            }
        }
    }
    Ok(())
}
