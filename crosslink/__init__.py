"""crosslink"""
