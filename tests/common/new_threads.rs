//! Work in threads of its own: backends keep workspaces a thread, and those count as memory of the work.

use pullback::{Ctx, Mat, Op, Scalar};

/// Runs `work` in a pool of so many new threads, which have ended when this returns.
pub fn in_new_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let mut handles = Vec::new();
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).spawn_handler(|thread| {
        handles.push(std::thread::Builder::new().spawn(|| thread.run())?);
        Ok(())
    });
    let pool = builder.build().expect("threads");
    let result = pool.install(work);
    drop(pool);
    handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
    result
}

/// One product in every thread of the current pool, so that each has the packing buffers of its products.
pub fn pack<T: Scalar>(ctx: &Ctx<T>) {
    let single = ctx.with_threads(1);
    rayon::broadcast(|_| {
        let (a, mut c) = (Mat::zeros(300, 300), Mat::zeros(300, 300));
        single.gemm(T::ONE, a.as_ref(), Op::No, a.as_ref(), Op::No, T::ZERO, c.as_mut()).expect("shapes fit");
    });
}
