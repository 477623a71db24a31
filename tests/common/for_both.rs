//! One test a law and scalar: `single::law` and `double::law` call the generic function `law`.

/// For functions `fn law<T: Scalar>()` of the module that calls this.
macro_rules! for_both {
    ($($law:ident),+ $(,)?) => {
        mod single {
            $(#[test]
            fn $law() {
                super::$law::<f32>();
            })+
        }
        mod double {
            $(#[test]
            fn $law() {
                super::$law::<f64>();
            })+
        }
    };
}
