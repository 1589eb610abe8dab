"""A mesh while everything around it goes wrong at random: `python -m tests.chaos --seconds 600`."""
