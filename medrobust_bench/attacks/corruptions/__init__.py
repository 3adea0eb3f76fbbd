"""Acquisition faults: corruptions that happen in clinics, one file per modality.

Every corruption is a pure function of an 8-bit image, one amount and a generator, and gives the same 8-bit image on
every machine. Nothing is stretched to the full range afterwards.
"""
