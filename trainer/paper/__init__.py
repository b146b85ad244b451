"""Reruns the tables and figures of Johnson, Alahi and Fei-Fei 2016 (ECCV); the paper's numbers are printed beside."""
