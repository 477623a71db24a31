//! Views of any shape: an error where the slice does not hold the view, else exactly the elements i + j ld.

use super::Bytes;
use pullback::{Error, Mat, MatMut, MatRef};

/// Elements that a view needs, or `None` when no slice can hold it.
fn need(nrows: usize, ncols: usize, ld: usize) -> Option<u128> {
    if ld < nrows.max(1) {
        return None;
    }
    Some(if nrows == 0 || ncols == 0 { 0 } else { (ncols as u128 - 1) * ld as u128 + nrows as u128 })
}

pub fn run(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let data: Vec<f64> = (0..input.bits(2) as usize % 2048).map(|i| i as f64).collect();
    let (nrows, ncols, ld) = (input.size(40), input.size(40), input.size(50));
    from_vec(&data, nrows, ncols);
    let fits = need(nrows, ncols, ld).is_some_and(|need| need <= data.len() as u128);
    let view = match MatRef::from_slice(&data, nrows, ncols, ld) {
        Err(Error::Shape { .. }) => return assert!(!fits, "{nrows}x{ncols} ld {ld} in {}", data.len()),
        Err(other) => panic!("{other}"),
        Ok(view) => view,
    };
    assert!(fits, "{nrows}x{ncols} ld {ld} in {}", data.len());
    assert_eq!((view.shape(), view.ld()), ((nrows, ncols), ld));
    // a shape like 0 x 2^60 is legal: look at a bounded part of it
    let (rows, cols) = (nrows.min(2048), ncols.min(2048));
    for j in 0..cols {
        assert_eq!(view.col(j).len(), nrows);
        for i in 0..rows {
            assert_eq!(view.get(i, j), Some((i + j * ld) as f64));
        }
        assert_eq!(view.get(nrows, j), None);
    }
    assert_eq!(view.get(0, ncols), None);
    if let Some(all) = view.contiguous_slice() {
        assert_eq!(all.len() as u128, nrows as u128 * ncols as u128);
    }
    let sub = [input.size(40), input.size(40), input.size(40), input.size(40)];
    submatrix(view, sub);
    if ncols <= 2048 {
        mutable(&data, (nrows, ncols, ld), input.upto(40), sub);
    }
}

fn from_vec(data: &[f64], nrows: usize, ncols: usize) {
    let fits = nrows as u128 * ncols as u128 == data.len() as u128;
    assert_eq!(Mat::from_vec(data.to_vec(), nrows, ncols).is_ok(), fits);
}

fn submatrix(view: MatRef<'_, f64>, [i, j, m, n]: [usize; 4]) {
    let end = |start: usize, len: usize| start as u128 + len as u128;
    let inside = end(i, m) <= view.nrows() as u128 && end(j, n) <= view.ncols() as u128;
    let sub = match view.submatrix(i, j, m, n) {
        Err(_) => return assert!(!inside),
        Ok(sub) => sub,
    };
    assert!(inside);
    assert_eq!((sub.shape(), sub.ld()), ((m, n), view.ld()));
    for b in 0..n.min(2048) {
        for a in 0..m {
            assert_eq!(sub.at(a, b), view.at(i + a, j + b));
        }
    }
    if n <= 2048 {
        let copy = sub.to_owned();
        assert_eq!(copy.shape(), (m, n));
        assert!((0..n).all(|b| copy.as_ref().col(b) == sub.col(b)));
    }
}

/// Writing through a view touches its elements and nothing else.
fn mutable(data: &[f64], (nrows, ncols, ld): (usize, usize, usize), split: usize, [i, j, m, n]: [usize; 4]) {
    let mut mine = data.to_vec();
    let inside = |index: usize| nrows > 0 && index % ld < nrows && index / ld < ncols;
    let mut view = MatMut::from_slice(&mut mine, nrows, ncols, ld).expect("the read-only view fits");
    view.fill(-1.0);
    view.copy_from(MatRef::from_slice(data, nrows, ncols, ld).expect("fits")).expect("same shape");
    assert_eq!(mine, data);
    let view = MatMut::from_slice(&mut mine, nrows, ncols, ld).expect("fits");
    let at = split.min(ncols);
    let (mut left, mut right) = view.split_at_col(at);
    assert_eq!((left.shape(), right.shape()), ((nrows, at), (nrows, ncols - at)));
    left.fill(-2.0);
    right.fill(-3.0);
    for (index, (&now, &before)) in mine.iter().zip(data).enumerate() {
        let expected = if !inside(index) {
            before
        } else if index / ld < at {
            -2.0
        } else {
            -3.0
        };
        assert_eq!(now, expected, "element {index} of {nrows}x{ncols}, ld {ld}, split at {at}");
    }
    mine.copy_from_slice(data);
    let mut view = MatMut::from_slice(&mut mine, nrows, ncols, ld).expect("fits");
    view.mirror_lower();
    let order = nrows.min(ncols);
    for b in 0..ncols.min(2048) {
        for a in 0..nrows {
            let mirrored = a < b && b < order;
            let from = if mirrored { b + a * ld } else { a + b * ld };
            assert_eq!(view.at(a, b), from as f64);
        }
    }
    if let Ok(mut sub) = view.submatrix(i, j, m, n) {
        sub.fill(-4.0);
        assert_eq!(mine.iter().filter(|&&x| x == -4.0).count(), m * n);
    }
    assert!(mine.iter().zip(data).enumerate().all(|(index, (now, before))| inside(index) || now == before));
}
