"""Networks of Coupling Models, one layout a file; modules are named as the files of the training code name weights."""
