//! Networks, statistics and optimizers. One program for many test files: what they share is compiled once.

#![allow(clippy::duplicate_mod)] // each file brings its own helpers

#[path = "../acktr.rs"]
mod acktr;
#[path = "../advantage.rs"]
mod advantage;
#[path = "../batch_product.rs"]
mod batch_product;
#[path = "../checkpoint.rs"]
mod checkpoint;
#[path = "../curvature_objective.rs"]
mod curvature_objective;
#[path = "../data_readers.rs"]
mod data_readers;
#[path = "../descent_methods.rs"]
mod descent_methods;
#[path = "../descent_rules.rs"]
mod descent_rules;
#[path = "../diagonal_moments.rs"]
mod diagonal_moments;
#[path = "../eigen_kronecker_moments.rs"]
mod eigen_kronecker_moments;
#[path = "../eigen_update.rs"]
mod eigen_update;
#[path = "../estimators_fisher.rs"]
mod estimators_fisher;
#[path = "../explain.rs"]
mod explain;
#[path = "../first_order.rs"]
mod first_order;
#[path = "../hessian_free.rs"]
mod hessian_free;
#[path = "../hessian_free_laws.rs"]
mod hessian_free_laws;
#[path = "../hessian_free_preconditioners.rs"]
mod hessian_free_preconditioners;
#[path = "../invariance.rs"]
mod invariance;
#[path = "../kfac.rs"]
mod kfac;
#[path = "../kfac_exactness.rs"]
mod kfac_exactness;
#[path = "../kfac_preconditioner.rs"]
mod kfac_preconditioner;
#[path = "../kfac_tridiagonal.rs"]
mod kfac_tridiagonal;
#[path = "../kfra.rs"]
mod kfra;
#[path = "../layer_structure.rs"]
mod layer_structure;
#[path = "../layer_structure_kfac.rs"]
mod layer_structure_kfac;
#[path = "../levenberg_marquardt_method.rs"]
mod levenberg_marquardt_method;
#[path = "../line_search.rs"]
mod line_search;
#[path = "../more_garbow_hillstrom.rs"]
mod more_garbow_hillstrom;
#[path = "../more_garbow_hillstrom_bar.rs"]
mod more_garbow_hillstrom_bar;
#[path = "../natural_gradient.rs"]
mod natural_gradient;
#[path = "../newton.rs"]
mod newton;
#[path = "../nist.rs"]
mod nist;
#[path = "../nist_bar.rs"]
mod nist_bar;
#[path = "../nn_activations.rs"]
mod nn_activations;
#[path = "../nn_capture.rs"]
mod nn_capture;
#[path = "../nn_gradients.rs"]
mod nn_gradients;
#[path = "../nn_init.rs"]
mod nn_init;
#[path = "../nn_kernel.rs"]
mod nn_kernel;
#[path = "../nn_losses.rs"]
mod nn_losses;
#[path = "../nn_products.rs"]
mod nn_products;
#[path = "../overhead_budget.rs"]
mod overhead_budget;
#[path = "../passes.rs"]
mod passes;
#[path = "../policy_example.rs"]
mod policy_example;
#[path = "../policy_objective.rs"]
mod policy_objective;
#[path = "../power_law.rs"]
mod power_law;
#[path = "../ppo.rs"]
mod ppo;
#[path = "../problems.rs"]
mod problems;
#[path = "../proximal.rs"]
mod proximal;
#[path = "../proximal_claims.rs"]
mod proximal_claims;
#[path = "../qr_model.rs"]
mod qr_model;
#[path = "../quadratic_model.rs"]
mod quadratic_model;
#[path = "../refresh_schedule.rs"]
mod refresh_schedule;
#[path = "../resumption.rs"]
mod resumption;
#[path = "../schedules.rs"]
mod schedules;
#[path = "../spring.rs"]
mod spring;
#[path = "../statistics.rs"]
mod statistics;
#[path = "../trouble.rs"]
mod trouble;
#[path = "../trpo.rs"]
mod trpo;
#[path = "../trust_region_newton.rs"]
mod trust_region_newton;
