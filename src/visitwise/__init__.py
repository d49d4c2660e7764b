"""Discrete-time survival analysis on visit sequences."""
