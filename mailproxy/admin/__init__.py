"""
Where an operator asks how it goes: probes, figures, the state of every destination, and a page for people.
"""
