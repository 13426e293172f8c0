"""What a run does beside its task and its method: smoothing, noise, adversaries, teachers, early ends.

One file a strategy; `engine.strategies.training` joins those that a recipe asks for into what the loop calls.
"""
