"""Demonstrations on real data: a project file and a driver that replays time; everything else is undrift itself."""
